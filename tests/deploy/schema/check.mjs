// The dashboards named against Grafana's own schema: what Grafana publishes of it as TypeScript types becomes
// JSON schemas, of the dashboard and of each kind of panel. Unknown properties are errors, so that a typo does not
// pass.
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const types = new URL("node_modules/@grafana/schema/dist/types/raw/", import.meta.url).pathname;
// Another kind of panel in a dashboard needs its name here.
const PANELS = ["stat", "timeseries", "heatmap", "table"];
// What Grafana's Prometheus adds to an annotation; the schema has only what all data sources share.
const OF_PROMETHEUS = ["expr", "step", "titleFormat", "textFormat", "tagKeys", "useValueForTime"];

function validator(path, type) {
  const options = { path: types + path, type, skipTypeCheck: true, additionalProperties: false };
  const schema = createGenerator(options).createSchema(type);
  return new Ajv({ strict: false, allErrors: true }).compile(schema);
}

let failed = false;
function check(validate, value, where) {
  if (validate(value)) return;
  failed = true;
  for (const { instancePath, message, params } of validate.errors) {
    console.log(`${where}${instancePath}: ${message} ${JSON.stringify(params)}`);
  }
}

const dashboard = validator("dashboard/x/types.gen.d.ts", "Dashboard");
const options = Object.fromEntries(
  PANELS.map((kind) => [kind, validator(`composable/${kind}/panelcfg/x/types.gen.d.ts`, "Options")]),
);
for (const file of process.argv.slice(2)) {
  const found = JSON.parse(readFileSync(file, "utf8"));
  for (const annotation of found.annotations.list) for (const name of OF_PROMETHEUS) delete annotation[name];
  check(dashboard, found, file);
  for (const panel of found.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])])) {
    if (panel.type === "row") continue;
    check(options[panel.type], panel.options, `${file}: options of "${panel.title}"`);
  }
}
process.exit(failed ? 1 : 0);
