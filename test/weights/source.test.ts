import { describe, expect, test } from "vitest";
import { fileListSource } from "../../src/weights/files.ts";
import { objectSource } from "../../src/weights/object.ts";
import { fill, type ModelSource, readInto } from "../../src/weights/source.ts";
import { toSource } from "../../src/weights/to-source.ts";
import { failure, memorySource } from "./memory-source.ts";

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);

function picked(path: string, data: Uint8Array<ArrayBuffer>): File {
  const file = new File([data], path.split("/").pop()!);
  Object.defineProperty(file, "webkitRelativePath", { value: path });
  return file;
}

/** What every source owes. `source` has a.bin (the 100 bytes above), unet/empty.bin and nothing else. */
async function honours(source: ModelSource): Promise<void> {
  expect(await source.read("a.bin")).toEqual(bytes);
  expect(await source.read("a.bin", { start: 3, end: 7 })).toEqual(bytes.slice(3, 7));
  expect(await source.read("a.bin", { start: 100, end: 100 })).toEqual(new Uint8Array(0));
  expect(await source.read("unet/empty.bin")).toEqual(new Uint8Array(0));
  expect(await source.size("a.bin")).toBe(100);
  expect(await source.size("unet/empty.bin")).toBe(0);
  expect(await source.exists("a.bin")).toBe(true);
  expect(await source.exists("b.bin")).toBe(false);
  expect(await source.exists("unet")).toBe(false);
  expect(await failure(source.read("a.bin", { start: 90, end: 101 }))).toContain("a.bin: is cut off: it has 100 bytes");
  expect(await failure(source.read("a.bin", { start: 4, end: 3 }))).toContain("internal: bytes 4 to 3 are not a range");
  expect(await failure(source.read("b.bin"))).toContain("b.bin: there is no such file");
  expect(await failure(source.size("b.bin"))).toContain("b.bin: there is no such file");
  const target = new Uint8Array(5);
  await readInto(source, "a.bin", 95, target);
  expect(target).toEqual(bytes.slice(95));
  expect(await failure(readInto(source, "a.bin", 96, target))).toContain("is cut off");
  const aborted = AbortSignal.abort();
  for (const attempt of [
    () => source.read("a.bin", undefined, aborted),
    () => source.read("a.bin", { start: 0, end: 1 }, aborted),
    () => source.size("a.bin", aborted),
    () => source.exists("a.bin", aborted),
  ])
    expect(await failure(attempt(), "AbortError")).toMatch(/abort/i);
}

describe("fileListSource", () => {
  test("files of a picked folder, without the folder's own name", async () => {
    const source = fileListSource([
      picked("ddpm/a.bin", bytes),
      picked("ddpm/unet/empty.bin", new Uint8Array(0)),
      picked("ddpm/unet/deep/x.bin", bytes),
    ]);
    await honours(source);
    expect(source.name).toBe("ddpm");
    expect((await source.list?.(""))?.sort()).toEqual(["a.bin"]);
    expect(await source.list?.("unet")).toEqual(["empty.bin"]);
  });

  test("files picked one by one go by their names", async () => {
    const source = fileListSource([new File([bytes], "a.bin"), new File(["{}"], "config.json")]);
    expect(source.name).toBe("");
    expect(await source.read("a.bin", { start: 1, end: 3 })).toEqual(Uint8Array.of(1, 2));
    expect(await failure(source.read("b.bin"))).toBe("b.bin: there is no such file in the list of files");
  });

  test("files of two folders keep the folders' names", async () => {
    const source = fileListSource([picked("one/a.bin", bytes), picked("two/a.bin", bytes)]);
    expect(await source.exists("one/a.bin")).toBe(true);
  });

  test("refuses an empty list and two files of one path", () => {
    expect(() => fileListSource([])).toThrow("the list of files is empty");
    expect(() => fileListSource([new File([], "a"), new File([], "a")])).toThrow("a: is in the list of files twice");
  });

  test("pairs of path and file: two files of one name in two folders", async () => {
    const pairs: [string, File][] = [
      ["unet/config.json", new File(["1"], "config.json")],
      ["vae/config.json", new File(["22"], "config.json")],
    ];
    for (const source of [fileListSource(pairs), fileListSource(new Map(pairs)), toSource(pairs)]) {
      expect(await source.size("unet/config.json")).toBe(1);
      expect(await source.size("vae/config.json")).toBe(2);
      expect(await source.list?.("vae")).toEqual(["config.json"]);
    }
    const below = (prefix: string) =>
      fileListSource([
        [`${prefix}a.bin`, new File([bytes], "a.bin")],
        [`${prefix}unet/empty.bin`, new File([], "empty.bin")],
      ]);
    await honours(below(""));
    // As FileSystemEntry.fullPath spells it: the folder that all lie in is the model's.
    await honours(below("/ddpm/"));
    expect(await below("/ddpm/").list?.("")).toEqual(["a.bin"]);
    expect(await below("ddpm/").size("ddpm/a.bin")).toBe(100);
  });

  test.each([[["a"]], [[["a", "b"]]], [[[1, new File([], "a")]]], [[null]]])("refuses %j", (list) => {
    expect(() => toSource(list as never)).toThrow("the list of files must hold File objects, or pairs [path, File]");
  });

  test("says which file could not be read", async () => {
    const file = new File([bytes], "a.bin");
    const cause = new DOMException("the file was changed", "NotReadableError");
    Object.defineProperty(file, "slice", {
      value: () => ({ stream: () => new ReadableStream({ pull: (controller) => controller.error(cause) }) }),
    });
    expect(await failure(fileListSource([file]).read("a.bin"))).toBe("a.bin: cannot be read: the file was changed");
  });
});

/** A folder in memory as browsers show it: names of files with their contents, and of folders. */
type Folder = { [name: string]: Uint8Array<ArrayBuffer> | Folder };
const isFile = (entry: Folder[string] | undefined): entry is Uint8Array<ArrayBuffer> => entry instanceof Uint8Array;
const absent = (name: "NotFoundError" | "TypeMismatchError") => new DOMException("no such thing", name);

function handle(name: string, folder: Folder): FileSystemDirectoryHandle {
  const get = (name: string, file: boolean) => {
    const entry = Object.hasOwn(folder, name) ? folder[name] : undefined;
    if (entry === undefined) throw absent("NotFoundError");
    if (isFile(entry) !== file) throw absent("TypeMismatchError");
    return entry;
  };
  return {
    kind: "directory",
    name,
    getDirectoryHandle: async (name: string) => handle(name, get(name, false) as Folder),
    getFileHandle: async (name: string) => {
      const data = get(name, true) as Uint8Array<ArrayBuffer>;
      return { kind: "file", name, getFile: async () => new File([data], name) };
    },
    async *keys() {
      yield* Object.keys(folder);
    },
  } as unknown as FileSystemDirectoryHandle;
}

/** What `webkitGetAsEntry` gives; folders are listed two entries at a time. */
function entry(name: string, content: Folder[string]): FileSystemEntry {
  if (isFile(content))
    return {
      name,
      isFile: true,
      isDirectory: false,
      file: (ok: (file: File) => void) => ok(new File([content], name)),
    } as never;
  const get =
    (file: boolean) => (path: string, _: object, ok: (found: FileSystemEntry) => void, fail: (e: Error) => void) => {
      let found: Folder[string] | undefined = content;
      for (const name of path.split("/")) found = found && !isFile(found) ? found[name] : undefined;
      if (found === undefined) fail(absent("NotFoundError"));
      else if (isFile(found) !== file) fail(absent("TypeMismatchError"));
      else ok(entry(path.split("/").at(-1) as string, found));
    };
  return {
    name,
    isFile: false,
    isDirectory: true,
    getFile: get(true),
    getDirectory: get(false),
    createReader() {
      const left = Object.entries(content);
      return {
        readEntries: (ok: (some: FileSystemEntry[]) => void) => ok(left.splice(0, 2).map(([n, c]) => entry(n, c))),
      };
    },
  } as never;
}

const dropped = (folder: Folder) => [
  { kind: "string" } as DataTransferItem,
  ...Object.entries(folder).map(
    ([n, c]) => ({ kind: "file", webkitGetAsEntry: () => entry(n, c) }) as DataTransferItem,
  ),
];

describe("folders that a page was given", () => {
  const folder: Folder = { "a.bin": bytes, unet: { "empty.bin": new Uint8Array(0) }, "b.txt": bytes, c: {} };

  test.each<[string, () => ModelSource, string]>([
    ["a directory's handle", () => toSource(handle("ddpm", folder)), "ddpm"],
    ["a dropped folder", () => toSource(dropped({ ddpm: folder })), "ddpm"],
    ["a drop's DataTransfer", () => toSource({ items: dropped({ ddpm: folder }), types: [] } as never), "ddpm"],
    ["files and folders dropped side by side", () => toSource(dropped(folder)), ""],
  ])("%s", async (_, make, name) => {
    const source = make();
    expect(source.name).toBe(name);
    await honours(source);
    expect((await source.list?.(""))?.sort()).toEqual(["a.bin", "b.txt", "c", "unet"]);
    expect(await source.list?.("unet")).toEqual(["empty.bin"]);
    expect(await source.list?.("vae")).toEqual([]);
    expect(await source.list?.("a.bin")).toEqual([]);
    expect(await source.exists("a.bin/x")).toBe(false);
    expect(await failure(source.exists("../x"))).toContain("does not stay inside");
  });

  test("a file is opened once: its File is the state that it was in", async () => {
    let opened = 0;
    const root = handle("ddpm", folder);
    const source = toSource({
      ...root,
      getFileHandle: (name: string) => {
        opened++;
        return root.getFileHandle(name);
      },
    } as never);
    for (let i = 0; i < 3; i++) await source.read("a.bin", { start: i, end: i + 1 });
    expect(opened).toBe(1);
  });

  test("refuses a drop without files, and two of one name", () => {
    expect(() => toSource(dropped({}).concat({ kind: "file", webkitGetAsEntry: () => null } as never))).toThrow(
      "nothing of what was dropped is a file or folder",
    );
    expect(() => toSource([...dropped({ a: bytes }), ...dropped({ a: bytes })])).toThrow("a: was dropped twice");
  });
});

describe("objectSource", () => {
  const files: Record<string, () => Uint8Array<ArrayBuffer> | ArrayBuffer | Blob> = {
    "a.bin": () => bytes,
    "unet/empty.bin": () => new ArrayBuffer(0),
  };

  test.each([
    ["typed arrays", (data: Uint8Array<ArrayBuffer>) => data],
    ["array buffers", (data: Uint8Array<ArrayBuffer>) => data.slice().buffer],
    ["blobs", (data: Uint8Array<ArrayBuffer>) => new Blob([data])],
  ])("over %s", async (_, wrap) => {
    const stored = new Map([
      ["a.bin", wrap(bytes)],
      ["unet/empty.bin", wrap(new Uint8Array(0))],
    ]);
    await honours(objectSource({ name: "mine", read: async (path) => stored.get(path) }));
    await honours(
      objectSource({
        async read(path) {
          const data = stored.get(path);
          if (!data) throw Object.assign(new Error("no entry"), { code: "ENOENT" });
          return data;
        },
      }),
    );
  });

  test("asks for a file once while it is the one being read", async () => {
    const asked: string[] = [];
    const source = objectSource({
      async read(path) {
        asked.push(path);
        return files[path]?.();
      },
    });
    for (let i = 0; i < 5; i++) await source.read("a.bin", { start: i, end: i + 1 });
    await source.read("unet/empty.bin");
    expect(asked).toEqual(["a.bin", "unet/empty.bin"]);
  });

  test("refuses a file that comes back with another length", async () => {
    let length = 10;
    const source = objectSource({ read: async () => new Uint8Array(length) });
    await source.read("a.bin");
    await source.read("b.bin");
    length = 11;
    expect(await failure(source.read("a.bin"))).toContain("a.bin: changed while it was read");
  });

  test("does not take a failure for a missing file", async () => {
    const source = objectSource({ name: "mine", read: () => Promise.reject(new Error("no network")) });
    expect(await failure(source.exists("a.bin"))).toBe("mine/a.bin: cannot be read: no network");
  });
});

describe("toSource", () => {
  test("takes what callers have", async () => {
    const own = memorySource({ "a.bin": bytes });
    expect(toSource(own)).toBe(own);
    expect(await toSource({ read: async () => bytes }).size("a.bin")).toBe(100);
    expect(await toSource([new File([bytes], "a.bin")]).size("a.bin")).toBe(100);
    const asked: string[] = [];
    const fetch = async (url: string) => {
      asked.push(url);
      return new Response(bytes, { headers: { "content-length": "100" } });
    };
    expect(await toSource("https://example.com/m", { fetch }).size("a.bin")).toBe(100);
    expect(await toSource(new URL("https://example.com/m/"), { fetch }).size("b.bin")).toBe(100);
    expect(asked).toEqual(["https://example.com/m/a.bin", "https://example.com/m/b.bin"]);
  });

  test.each(["weights/ddpm", "/weights", "file:///weights", "C:\\weights"])("%j is no URL of a server", (from) => {
    expect(() => toSource(from)).toThrow(`${from} is not an http(s) URL; folders are opened by`);
  });

  test.each([[undefined], [null], [7], [{}]])("refuses %j", (from) => {
    expect(() => toSource(from as never)).toThrow("the model's source must be");
  });
});

test("a source that gives another number of bytes is caught", async () => {
  const liar: ModelSource = { ...memorySource({}), read: async () => new Uint8Array(3) };
  expect(await failure(readInto(liar, "a.bin", 0, new Uint8Array(4)))).toBe(
    "model/a.bin: gave 3 bytes when 4 were asked for",
  );
  const stream = () => new Blob([bytes]).stream();
  expect(await failure(fill("f", stream(), new Uint8Array(99)))).toBe(
    "f: gave more than the 99 bytes that were asked for",
  );
  expect(await failure(fill("f", stream(), new Uint8Array(101)))).toBe("f: gave 100 bytes when 101 were asked for");
});
