import Image from "next/image";
import { Faces } from "./Faces.tsx";

export default function Page() {
  return (
    <main>
      <h2>On the visitor's GPU</h2>
      <Faces />
      <h2>On the server's</h2>
      <Image unoptimized src="/api/face?class=2&seed=7" alt="a face with a hat" width={128} height={128} />
    </main>
  );
}
