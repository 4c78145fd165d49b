// Finds and starts the Chromium that the browser tests run in; installs Debian's package where there is none.
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { aptInstall, distribution, mayInstall } from "./apt.mjs";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge"];
const MACOS = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/** @returns {string | null} the path of the executable: $CHROMIUM, else the first of the usual names on PATH */
export function findChromium() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const usual = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  return [process.env.CHROMIUM ?? "", ...usual, ...MACOS].find(isExecutable) ?? null;
}

/**
 * @returns {string} the path of the executable
 * @throws {Error} where there is none and this is not ours to install, with what to do by hand
 */
export function ensureChromium() {
  const found = findChromium();
  if (found) return found;
  // Ubuntu's package is a stub that fetches a snap, which containers cannot run.
  if (distribution()?.id !== "debian" || !mayInstall()) {
    throw new Error(
      "no Chromium found for the browser test: install Chromium or Chrome (Debian, as root: apt-get install chromium), " +
        "or name its executable in the variable CHROMIUM, then run this again",
    );
  }
  aptInstall(
    "no Chromium found for the browser tests: Debian's is to be installed",
    ["chromium"],
    "CHROMIUM names the executable of another",
  );
  const installed = findChromium();
  if (!installed) throw new Error("the package chromium is installed, but no executable of that name is on PATH");
  return installed;
}

/**
 * @returns {Promise<import("playwright-core").Browser>} headless, to be closed
 * @throws {Error} where there is none
 */
export async function launchChromium() {
  const executablePath = findChromium();
  if (!executablePath) throw new Error("no Chromium found: run `npm run setup -- --tests`");
  // Loaded here: the setup looks for Chromium before any package is installed.
  const { chromium } = await import("playwright-core");
  return chromium.launch({
    executablePath,
    // Its own software adapter answers when there is no GPU; the sandbox needs privileges that containers do not give.
    args: ["--headless=new", "--no-sandbox", "--enable-unsafe-webgpu"],
  });
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return path !== "";
  } catch {
    return false;
  }
}
