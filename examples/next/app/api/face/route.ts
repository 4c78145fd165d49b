import { type DiffusionPipeline, encodePng, loadPipeline, type RgbaImage, UsageError } from "ddim-webgpu/node";

let loading: Promise<DiffusionPipeline> | undefined;

/** One pipeline for all requests, which wait for each other; after a failure the next request tries again. */
function pipeline(): Promise<DiffusionPipeline> {
  loading ??= loadPipeline("pixel-avatars-16").catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

/** A face as a PNG: `/api/face?class=2&seed=7`. */
export async function GET(request: Request): Promise<Response> {
  const { searchParams } = new URL(request.url);
  const number = (name: string) => Number(searchParams.get(name) ?? 0);
  try {
    const pipe = await pipeline();
    const { images } = await pipe.generate({
      count: 1,
      steps: 20,
      classes: [number("class")],
      seed: number("seed"),
      signal: request.signal,
    });
    const png = await encodePng(images[0] as RgbaImage);
    return new Response(png, { headers: { "content-type": "image/png" } });
  } catch (error) {
    if (error instanceof UsageError) return new Response(error.message, { status: 400 });
    throw error;
  }
}
