// Builds the console into the folder that is named, or the router's own. The same sources and packages give the same
// bytes: a test builds anew and compares.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../enginehouse/http/console/static");
mkdirSync(out, { recursive: true });
for (const old of readdirSync(out)) rmSync(join(out, old), { recursive: true });

const result = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx", docs: "src/docs.ts", "docs-style": "src/docs.css" },
  entryNames: "[name]-[hash]",
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none", // licences.txt has them whole
  metafile: true,
  logLevel: "warning",
});

const files = Object.keys(result.metafile.outputs).map((file) => basename(file));
const [script, style, docs, docsStyle] = [/^app-.*js$/, /^app-.*css$/, /^docs-.*js$/, /^docs-style-.*css$/].map((one) =>
  files.find((file) => one.test(file)),
);
writeFileSync(
  join(out, "index.html"),
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Enginehouse</title>
<link rel="icon" href="/console/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/console/assets/${style}">
<script type="module" src="/console/assets/${script}"></script>
</head>
<body>
<div id="app"><p class="boot">The console needs JavaScript.</p></div>
</body>
</html>
`,
);
// Swagger UI comes as it is, under names with the hashes of what is in it.
const [swagger, swaggerStyle] = ["swagger-ui-bundle.js", "swagger-ui.css"].map((file) => {
  const data = readFileSync(join(here, "node_modules/swagger-ui-dist", file), "utf8").replace(/\n?\/[/*]# sourceMappingURL=.*$/gm, "");
  const hash = createHash("sha256").update(data).digest("hex").slice(0, 8).toUpperCase();
  const name = file.replace(/(-bundle)?\.(js|css)$/, `-${hash}.$2`);
  writeFileSync(join(out, name), data);
  return name;
});
writeFileSync(
  join(out, "docs.html"),
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API – Enginehouse</title>
<link rel="icon" href="/docs/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/assets/${swaggerStyle}">
<link rel="stylesheet" href="/docs/assets/${docsStyle}">
<script defer src="/docs/assets/${swagger}"></script>
<script type="module" src="/docs/assets/${docs}"></script>
</head>
<body>
<nav class="bar" aria-label="Pages"><strong>Enginehouse</strong> <a href="/docs/plain">without scripts</a> <a href="/openapi.json">as data</a></nav>
<div id="reference"></div>
</body>
</html>
`,
);
writeFileSync(join(out, "icon.svg"), readFileSync(join(here, "src/icon.svg")));

const packages = new Set(["swagger-ui-dist"]);
for (const file of Object.keys(result.metafile.inputs)) {
  const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file);
  if (found) packages.add(found[1]);
}
const licences = [...packages].sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  let text = file ? readFileSync(join(folder, file), "utf8").trim() : license;
  if (name === "swagger-ui-dist") text += `\n\n${readFileSync(join(folder, "NOTICE"), "utf8")}\n${readFileSync(join(folder, "swagger-ui-bundle.js.LICENSE.txt"), "utf8").trim()}`;
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(join(out, "licences.txt"), `What the console is made with:\n\n${licences.join(`\n${"-".repeat(80)}\n\n`)}`);
