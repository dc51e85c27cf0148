// Objects of kinds that are not Kubernetes' own against the published models of these kinds.
//
// Usage: kinds.mjs OBJECTS.json, an array of objects. Each is checked twice: the model's validator knows formats,
// required fields and enumerations, and TypeScript's types know all fields there are, so that a typo does not pass.
// Prints one line for each fault; the exit code is 1 if there is one, or if there is no object at all.
import { readFileSync } from "node:fs";
import ts from "typescript";

const GROUPS = {
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "traefik.io": "@kubernetes-models/traefik",
};
// It exists in memory only; its place is where the packages are found from.
const CHECKED = new URL("objects.ts", import.meta.url).pathname;

function model({ apiVersion, kind }) {
  const [group] = apiVersion.split("/");
  if (!(group in GROUPS)) throw new Error(`no models of ${apiVersion} ${kind} are known`);
  return `${GROUPS[group]}/${apiVersion}/${kind}`;
}

async function faultsOfValues(object) {
  const { [object.kind]: Model } = await import(model(object));
  try {
    new Model(object).validate();
    return [];
  } catch (error) {
    return [`${object.kind} ${object.metadata.name}: ${error.message}`];
  }
}

function faultsOfFields(objects) {
  const lines = objects.map((object, index) => {
    const type = `I${object.kind}`;
    return `import { ${type} as T${index} } from "${model(object)}"; ((_: T${index}) => _)(${JSON.stringify(object)});`;
  });
  const text = lines.join("\n");
  const options = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    noEmit: true,
    skipLibCheck: true,
    strict: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, getSourceFile } = host;
  host.fileExists = (name) => name === CHECKED || fileExists(name);
  host.getSourceFile = (name, ...rest) =>
    name === CHECKED ? ts.createSourceFile(name, text, options.target) : getSourceFile(name, ...rest);
  const program = ts.createProgram([CHECKED], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file?.fileName === CHECKED ? file.getLineAndCharacterOfPosition(start).line : undefined;
    const where = line === undefined ? "TypeScript" : `${objects[line].kind} ${objects[line].metadata.name}`;
    return `${where}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
  });
}

const objects = JSON.parse(readFileSync(process.argv[2], "utf8"));
const faults = [...(await Promise.all(objects.map(faultsOfValues))).flat(), ...faultsOfFields(objects)];
for (const fault of faults) console.log(fault);
if (objects.length === 0) console.log("there is no object to check");
process.exitCode = faults.length > 0 || objects.length === 0 ? 1 : 0;
