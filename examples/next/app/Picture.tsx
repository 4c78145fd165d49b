import type { RgbaImage } from "ddim-webgpu";
import { useEffect, useRef } from "react";

/** One picture, pixel by pixel; CSS makes it larger. */
export function Picture({ image }: { image: RgbaImage }) {
  const { data, width, height } = image;
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    canvas.current?.getContext("2d")?.putImageData(new ImageData(data, width, height), 0, 0);
  }, [data, width, height]);
  return <canvas ref={canvas} width={width} height={height} style={{ width: 128, imageRendering: "pixelated" }} />;
}
