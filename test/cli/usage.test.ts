import { expect, test } from "vitest";
import { ddim } from "../support/cli.ts";

const COMMANDS = [
  ..."sample schedule forward inspect doctor invert interpolate fuse edit noise eval encode decode tune".split(" "),
  ...["bench", "bench forward", "bench kernels", "bench export", "bench compare"],
];

test.each(COMMANDS)("--help of %s explains it with an example", async (command) => {
  const { code, stdout, stderr } = await ddim([...command.split(" "), "--help"]);
  expect(code).toBe(0);
  expect(stdout).toContain(`Usage: ddim ${command}`);
  expect(stdout).toMatch(new RegExp(`Examples?:\\n {2}\\$ ddim ${command.split(" ")[0]}`));
  expect(stderr).toBe("");
});

test("--help lists the commands, --version says the package's version", async () => {
  const { stdout } = await ddim(["--help"]);
  for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command.split(" ")[0]}`, "m"));
  expect(stdout).toContain("$ ddim sample");
  const version = await ddim(["--version"]);
  expect(version).toMatchObject({ code: 0, stderr: "" });
  expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test("without a command the help goes to stderr and the exit code is 2", async () => {
  const { code, stdout, stderr } = await ddim([]);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toContain("Usage: ddim");
  expect(stderr).toMatch(/ddim: a command is needed\n$/);
});

const SAMPLE = ["sample", "-o", "nowhere/x.png"];

test.each([
  [["paint"], "unknown command 'paint'"],
  [["schedul"], "(Did you mean schedule?)"],
  [["schedule", "extra"], "too many arguments for 'schedule'"],
  [["forward", "--input", "x.safetensors"], "required option '-o, --output <file>' not specified"],
  [["bench", "paint"], "bench has no command 'paint'"],
  [["sample", "-n"], "argument missing"],
  [["sample", "-m", ""], "ddim: --model is empty"],
  [["sample", "--like", " "], "ddim: --like is empty"],
  [["sample", "-o", ""], "ddim: --output is empty"],
  [["sample", "--cache="], "ddim: --cache is empty"],
  [["forward", "--input", "", "-o", "x.safetensors"], "ddim: --input is empty"],
  [["bench", "forward", "--device", ""], "ddim: --device is empty"],
  [["inspect", ""], "ddim: an argument of inspect is empty"],
  [["fuse", "a.png", ""], "ddim: an argument of fuse is empty"],
  [["sample", "-n", "0"], "argument '0' is invalid: expected a whole number from 1"],
  [["sample", "-n", "2.5"], "expected a whole number from 1"],
  [["sample", "-b", "none"], "expected a whole number from 1"],
  [["sample", "-S", "many"], "argument 'many' is invalid: expected a number"],
  [["sample", "-S", "0x10"], "expected a number"],
  [["sample", "--first-image", "9007199254740992"], "expected a whole number from 0 to 9007199254740991"],
  [["sample", "--seed", "-1"], "expected a whole number from 0 to 18446744073709551615"],
  [["sample", "--seed", "18446744073709551616"], "from 0 to 18446744073709551615"],
  [["sample", "--timesteps", "900,,1"], "expected a number"],
  [["sample", "--guidance", "w"], "expected a number"],
  [["sample", "--dtype", "f64"], "Allowed choices are auto, f32, f16"],
  [["sample", "--rng", "dice"], "Allowed choices are philox, torch"],
  [["sample", "--sampler", "euler"], "Allowed choices are ddim"],
  [["sample", "--sigma", "huge"], "Allowed choices are posterior"],
  [["sample", "--compat", "keras"], "Allowed choices are none, diffusers"],
  [["sample", "-o", "out.jpg"], "out.jpg: the name must end in .png, .safetensors or /"],
  [[...SAMPLE, "-S", "0"], "steps must be a whole number from 1 to 1000"],
  [[...SAMPLE, "-S", "1001"], "steps must be a whole number from 1 to 1000"],
  [[...SAMPLE, "-S", "2.5"], "steps must be a whole number from 1 to 1000"],
  [[...SAMPLE, "--eta", "-0.5"], "eta must be a number from 0 to 1"],
  [[...SAMPLE, "--spacing", "random"], "spacing must be one of leading"],
  [[...SAMPLE, "--timesteps", "10,20,15"], "timesteps must be strictly decreasing"],
  [[...SAMPLE, "--timesteps", "1000,5"], "timesteps must be whole numbers from 0 to 999"],
  [[...SAMPLE, "-S", "3", "--timesteps", "9,5"], "steps is 3, but timesteps lists 2"],
  [[...SAMPLE, "--sampler", "ddpm", "--eta", "0.5"], "eta must be 1 with sampler ddpm"],
  [[...SAMPLE, "--sampler", "plms", "--eta", "1"], "sampler plms is deterministic: eta must be 0"],
  [[...SAMPLE, "--sigma", "learned_range"], "needs a model whose variance_type is learned_range"],
  [[...SAMPLE, "--threshold", "2"], "threshold needs a ratio in 0..1"],
  [[...SAMPLE, "--timestep-base", "2", "--timesteps", "5,3"], "timestep base must be 0 or 1"],
  [[...SAMPLE, "--timesteps", "1000,5", "--timestep-base", "0"], "timesteps must be whole numbers from 0 to 999"],
  [[...SAMPLE, "--guidance-rescale", "0.5"], "guidanceRescale means nothing while guidance is 1"],
  [[...SAMPLE, "--guidance", "2", "--negative-class", "beard"], 'there is no class "beard"'],
  [[...SAMPLE, "--temperature", "-1"], "temperature must be a number from 0"],
  [[...SAMPLE, "-c", "7"], "class 7 is out of range: pixel-avatars-16 has classes 0..4"],
  [[...SAMPLE, "-c", "beard"], 'there is no class "beard"; there is 0 plain, 1 glasses, 2 hat, 3 hat and glasses'],
  [["sample", "--grid", "-o", "x-%03d.png"], "--grid makes one picture"],
  [["sample", "--scale", "2", "-o", "x.safetensors"], "--scale enlarges PNG files"],
  [[...SAMPLE, "-S", "5,10"], "several numbers of steps need --sweep"],
  [["sample", "--sweep", "-o", "x.safetensors"], "--sweep makes one picture"],
  [["edit", "x.png", "--scale", "2", "-o", "x.safetensors"], "--scale enlarges PNG files"],
  [["invert", "x.png", "--scale", "2"], "--scale enlarges PNG files"],
  [
    ["invert", "x.png", "--convention", "next", "--iterations", "3"],
    "--iterations means nothing here: --convention next",
  ],
  [
    ["invert", "x.png", "--convention", "exact", "--iterations", "3"],
    "--iterations means nothing here: --convention exact",
  ],
  [["interpolate", "--seeds", "1,2", "-n", "3", "--at", "0,1"], "--count means nothing here: --at lists the places"],
  [["interpolate", "--seeds", "1,2", "--fit", "pad"], "--fit means nothing here: no pictures are read"],
  [["interpolate", "--latents", "x", "--max-pixels", "9"], "--max-pixels means nothing here: no pictures are read"],
  [["schedule", "--timestep-base", "1"], "timestep base says what timesteps count from, and none are listed"],
  [["sample", "--sweep", "-n", "3"], "--sweep shows one image"],
  [["forward", "--component", "text", "--input", "x", "-o", "y"], "--component text: expected one of unet"],
  [["bench", "forward", "--seconds", "0", "--input", "x"], "--seconds must be above 0, got 0"],
])("%j is wrong usage", async (args, message) => {
  const { code, stdout, stderr, devices } = await ddim(args);
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^ddim: .*\n$/);
  expect({ code, stdout, devices }).toEqual({ code: 2, stdout: "", devices: 0 });
});

test("a stack is shown with --verbose only", async () => {
  const failing = ["schedule", "-S", "0"];
  expect((await ddim(failing)).stderr).not.toContain("    at ");
  expect((await ddim([...failing, "--verbose"])).stderr).toContain("    at ");
});

test("colours go to terminals, unless NO_COLOR is set", async () => {
  const escapeCode = "\u001b[";
  const failing = ["schedule", "-S", "0"];
  expect((await ddim(failing)).stderr).not.toContain(escapeCode);
  expect((await ddim(failing, { tty: true })).stderr).toContain(escapeCode);
  expect((await ddim(failing, { tty: true, env: { NO_COLOR: "1" } })).stderr).not.toContain(escapeCode);
});

test("an interrupted run exits with 130", async () => {
  const { code, stderr } = await ddim(["inspect"], { signal: AbortSignal.abort() });
  expect({ code, stderr }).toEqual({ code: 130, stderr: "ddim: interrupted\n" });
});
