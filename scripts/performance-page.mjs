// Makes docs/performance.md and its picture from a results file: node scripts/performance-page.mjs bench/results/FILE.json
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { launchChromium } from "./chromium.mjs";

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const PICTURE = here("../docs/pictures/performance.png");
const PAGE = here("../docs/performance.md");
/** Bytes. Of large reports the picture is made smaller until it has no more. */
const LIMIT = 150_000;
const SCALES = [1, 0.8, 0.65, 0.5];

const [results] = process.argv.slice(2);
if (!results) {
  console.error("usage: node scripts/performance-page.mjs bench/results/FILE.json");
  process.exit(2);
}

/** @param {string[]} flags */
const report = (...flags) =>
  execFileSync(process.execPath, [here("../bin/ddim.js"), "bench", "report", results, ...flags], { stdio: "inherit" });

/** @param {string} html */
async function takePicture(html) {
  // Its charts; what it says in words the Markdown page says itself.
  const hidden = [
    "nav, h2, .table, figcaption, section > p, section > ul, section:not(:has(figure))",
    "#kernel-engines, figure:not(.wide, #steps-time, #batch-time)",
  ];
  const browser = await launchChromium();
  try {
    for (const deviceScaleFactor of SCALES) {
      const page = await browser.newPage({
        viewport: { width: 880, height: 600 },
        colorScheme: "light",
        deviceScaleFactor,
      });
      await page.goto(pathToFileURL(html).href);
      await page.addStyleTag({ content: `${hidden.join(", ")} { display: none }` });
      const png = await page.screenshot({ fullPage: true });
      await page.close();
      if (png.length <= LIMIT) return png;
    }
  } finally {
    await browser.close();
  }
  throw new Error(`${PICTURE}: more than ${LIMIT} bytes even at half its size`);
}

const folder = mkdtempSync(join(tmpdir(), "ddim-report-"));
try {
  const html = join(folder, "report.html");
  report("--html", html, "--quiet");
  writeFileSync(PICTURE, await takePicture(html));
} finally {
  rmSync(folder, { recursive: true });
}
// The page shows the picture that is there.
report("--markdown", PAGE);
