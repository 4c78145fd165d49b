import { Picture } from "./Picture.tsx";
import { useDiffusion } from "./useDiffusion.ts";

const CLASSES = ["plain", "glasses", "hat", "hat and glasses"];

export function App() {
  const { status, progress, images, error, generate, abort } = useDiffusion("pixel-avatars-16");
  return (
    <main>
      <p>
        {CLASSES.map((name, id) => (
          <button
            key={name}
            type="button"
            disabled={status === "loading"}
            onClick={() => generate({ count: 4, classes: [id], steps: 20 })}
          >
            {name}
          </button>
        ))}
        <button type="button" disabled={status !== "generating"} onClick={abort}>
          stop
        </button>
      </p>
      <p role="status">{error?.message ?? status}</p>
      <progress value={progress} />
      <p>
        {images.map((image, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: picture i of a run stays picture i
          <Picture key={i} image={image} />
        ))}
      </p>
    </main>
  );
}
