// Installs Mesa's software Vulkan driver (lavapipe), for machines that have no adapter at all.
import process from "node:process";
import { aptInstall, distribution, mayInstall } from "./apt.mjs";

const PACKAGES = ["mesa-vulkan-drivers", "libvulkan1"];

/** @throws {Error} where this is not ours to do, with what to do by hand */
export function installSoftwareVulkan() {
  const system = distribution();
  if (!system || !mayInstall()) throw new Error(`no WebGPU adapter found. ${byHand(system)}`);
  aptInstall(
    "no WebGPU adapter found: Mesa's software Vulkan driver is to be installed",
    PACKAGES,
    "a driver of the machine's own GPU does as well",
    backports(system),
  );
}

/**
 * @param {{ codename: string }} system
 * @returns {string | undefined} Debian 12, whose own Mesa is too old for Dawn
 */
function backports({ codename }) {
  return codename === "bookworm" ? codename : undefined;
}

/** @param {{ id: string, codename: string } | null} system */
function byHand(system) {
  const again = "then run this again";
  if (system) {
    const codename = backports(system);
    const suite = codename && `${codename}-backports`;
    const install = `apt-get install ${suite ? `-t ${suite} ` : ""}${PACKAGES.join(" ")}`;
    return `As root${suite ? `, with ${suite} among apt's sources` : ""}: ${install} - ${again}.`;
  }
  if (process.platform === "linux") {
    return [
      "Install the GPU's Vulkan driver, or Mesa's software driver (24 or newer) and the Vulkan loader, for example",
      "  Fedora:  dnf install mesa-vulkan-drivers vulkan-loader",
      "  Arch:    pacman -S vulkan-swrast vulkan-icd-loader",
      "  openSUSE: zypper install libvulkan_lvp libvulkan1",
      `and ${again}.`,
    ].join("\n");
  }
  return "On this system WebGPU needs a working GPU driver (Metal on macOS, Direct3D 12 on Windows): update the system's graphics driver.";
}
