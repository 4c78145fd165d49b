import { describe, expect, test } from "vitest";
import { backportsFile } from "../../scripts/apt-sources.mjs";

const inImages = {
  path: "/etc/apt/sources.list.d/debian.sources",
  text: `Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`,
};
const stranger = {
  path: "/etc/apt/sources.list.d/other.list",
  text: "deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] https://packages.example/apt bookworm main\n",
};

describe("backportsFile", () => {
  test("copies the release's stanza with its address and key", () => {
    expect(backportsFile([stranger, inImages], "bookworm")).toEqual({
      path: "/etc/apt/sources.list.d/bookworm-backports.sources",
      text: `Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`,
    });
  });

  test("copies a one-line entry with its options and components", () => {
    const text = `# deb http://old.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64] http://mirror.example/debian/ bookworm main contrib
deb http://mirror.example/debian-security bookworm-security main
`;
    expect(backportsFile([stranger, { path: "/etc/apt/sources.list", text }], "bookworm")).toEqual({
      path: "/etc/apt/sources.list.d/bookworm-backports.list",
      text: "deb [arch=amd64] http://mirror.example/debian/ bookworm-backports main contrib\n",
    });
  });

  test("adds nothing where the backports are there already, unless the entry is switched off", () => {
    const stanza = inImages.text.replace("Suites: bookworm bookworm-updates", "Suites: bookworm-backports");
    const path = "/etc/apt/sources.list.d/more.sources";
    expect(backportsFile([inImages, { path, text: stanza }], "bookworm")).toBeNull();
    expect(backportsFile([inImages, { path, text: `Enabled: no\n${stanza}` }], "bookworm")).not.toBeNull();
  });

  test("takes no stranger's suite for Debian's", () => {
    expect(() => backportsFile([stranger], "bookworm")).toThrow("apt's sources do not name Debian bookworm");
  });
});
