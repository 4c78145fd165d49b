// What test files import from "vitest", without vite: the same runner, matchers and spies. build.mjs bundles it.
// @ts-nocheck: it stands on insides of vitest that no types describe.
import {
  ASYMMETRIC_MATCHERS_OBJECT,
  customMatchers,
  GLOBAL_EXPECT,
  getState,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  setState,
} from "@vitest/expect";
import * as spies from "@vitest/spy";
import * as chai from "chai";

export * from "@vitest/runner";

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);
export const expect = (value, message) => {
  setState({ assertionCalls: getState(expect).assertionCalls + 1 }, expect);
  return chai.expect(value, message);
};
Object.assign(expect, chai.expect, globalThis[ASYMMETRIC_MATCHERS_OBJECT], {
  getState: () => getState(expect),
  setState: (state) => setState(state, expect),
  extend: (matchers) => chai.expect.extend(expect, matchers),
  unreachable: (message) => chai.assert.fail(message ?? "unreachable"),
});
globalThis[GLOBAL_EXPECT] = expect;
setState({ assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null }, expect);
expect.extend(customMatchers);

async function waitFor(callback, { timeout = 1000, interval = 50 } = {}) {
  for (const end = Date.now() + timeout; ; await new Promise((resolve) => setTimeout(resolve, interval)))
    try {
      return await callback();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
}
const stubbed = new Map();
function stubGlobal(name, value) {
  if (!stubbed.has(name)) stubbed.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true });
}
function unstubAllGlobals() {
  for (const [name, was] of stubbed)
    if (was) Object.defineProperty(globalThis, name, was);
    else delete globalThis[name];
  stubbed.clear();
}
export const vi = { ...spies, waitFor, stubGlobal, unstubAllGlobals };
export const bench = () => {};
