/** The strict wrapper: nothing but strings, finite numbers and booleans reaches a shader. */
import { describe, expect, it } from "vitest";
import { compileFailure, f32, range, u32, wgsl } from "../../src/runtime/wgsl.ts";

describe("wgsl", () => {
  it.each([
    ["undefined", undefined],
    ["null", null],
    ["NaN", Number.NaN],
    ["infinity", Number.POSITIVE_INFINITY],
    ["an array", [1, 2]],
    ["an object", { a: 1 }],
    ["a function", () => "x"],
    ["a bigint", 1n],
    ["a symbol", Symbol("x")],
  ])("refuses %s, wherever it stands", (_, value) => {
    const bad = value as unknown as string;
    expect(() => wgsl`let x = ${bad};`).toThrow(TypeError);
    expect(
      () => wgsl`
      #if ${bad}
      let x = 1;
      #endif`,
    ).toThrow(TypeError);
    // Also in a branch that is not taken: a forgotten value is a mistake whether or not it shows.
    expect(
      () => wgsl`
      #if ${false}
      let x = ${bad};
      #endif`,
    ).toThrow(TypeError);
  });

  it("names the value and the source before it", () => {
    const missing = undefined as unknown as string;
    expect(() => wgsl`fn main() {\n  let tiles = ${1} + ${missing};\n}`).toThrow(
      'internal: WGSL value 1 after "+" is undefined',
    );
    expect(() => wgsl`fn main() {\n  let tiles = ${missing};\n}`).toThrow('after "  let tiles =" is undefined');
  });

  it.each(["false", "", "1"])('refuses the string "%s" as a condition, whose truth is not its meaning', (text) => {
    expect(
      () => wgsl`
      #if ${text}
      #endif`,
    ).toThrow(TypeError);
    expect(
      () => wgsl`
      #if ${false}
      #elif ${text}
      #endif`,
    ).toThrow(TypeError);
  });

  it("pastes strings, numbers and booleans as they are", () => {
    expect(wgsl`${"vec4f"} ${1.5} ${0} ${-2} ${true} ${""}|`).toBe("vec4f 1.5 0 -2 true |");
  });

  it("takes exactly one branch", () => {
    const pick = (n: number) =>
      wgsl`
        #if ${n === 1}
        one
        #elif ${n === 2}
        two
        #else
        other
        #endif
        end`.replace(/\s+/g, " ");
    expect([1, 2, 3].map(pick)).toEqual([" one end", " two end", " other end"]);
  });

  it("nests conditions and templates", () => {
    const inner = (on: boolean) => wgsl`[${"a"}
      #if ${on}
      b${wgsl`(${1})`}
      #endif
      c]`;
    const outer = (on: boolean) => wgsl`
      #if ${true}
      #if ${false}
      never
      #else
      ${inner(on)}
      #endif
      #endif
      ${inner(!on)}`;
    expect(outer(true).replace(/\s+/g, "")).toBe("[ab(1)c][ac]");
    expect(outer(false).replace(/\s+/g, "")).toBe("[ac][ab(1)c]");
  });

  it("refuses conditions that do not close or are not interpolated", () => {
    expect(
      () => wgsl`
      #if ${true}
      x`,
    ).toThrow();
    expect(
      () => wgsl`
      #endif`,
    ).toThrow();
    expect(
      () => wgsl`
      #if x ${true}
      #endif`,
    ).toThrow();
  });
});

describe("literals", () => {
  it("u32 takes whole numbers within 32 bits only", () => {
    expect(u32(0)).toBe("0u");
    expect(u32(0xffffffff)).toBe("4294967295u");
    for (const bad of [-1, 1.5, 2 ** 32, Number.NaN, undefined as unknown as number])
      expect(() => u32(bad)).toThrow(TypeError);
  });

  it("f32 is always a float literal that reads back as the nearest f32", () => {
    for (const value of [0, 1, -3, 0.1, 1e-6, 1e21, 3.4028234663852886e38, 1.1754943508222875e-38, Math.PI]) {
      const text = f32(value);
      expect(text).toMatch(/^-?\d+(\.\d+)?(e[+-]?\d+)?f$/);
      expect(text).toMatch(/[.e]/);
      expect(Math.fround(Number.parseFloat(text))).toBe(Math.fround(value));
    }
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, undefined as unknown as number])
      expect(() => f32(bad)).toThrow(TypeError);
  });

  it("range counts from zero", () => {
    expect(range(3)).toEqual([0, 1, 2]);
    expect(range(0)).toEqual([]);
  });
});

describe("compileFailure", () => {
  it("shows each error with its place and a numbered excerpt, and no warning", () => {
    const source = range(20)
      .map((i) => `line ${i + 1}`)
      .join("\n");
    const message = (type: string, lineNum: number, text: string) =>
      ({ type, lineNum, linePos: 4, message: text }) as GPUCompilationMessage;
    const error = compileFailure("conv2d_tiled", source, [
      message("warning", 3, "shadowed"),
      message("error", 10, "unresolved value 'x'"),
      message("error", 1, "first line"),
    ]);
    expect(error.reason).toBe("validation");
    const place = "internal: kernel conv2d_tiled does not compile: 10:4 unresolved value 'x'";
    expect(error.message).toBe(`${place}; 1:4 first line`);
    const shown = (error.cause as Error).message;
    expect(shown).not.toContain("shadowed");
    expect(shown.split("\n")[0]).toBe("10:4 unresolved value 'x'");
    const excerpt = shown.split("\n").slice(1, 12);
    expect(excerpt[0]).toBe("   5 line 5");
    expect(excerpt[10]).toBe("  15 line 15");
    expect(shown).toContain("1:4 first line\n   1 line 1\n");
    expect(shown.endsWith("   6 line 6")).toBe(true);
  });
});
