// Hashes one file off the main thread. In: a File. Out: {done: bytes} while reading, at last {sha256}, or {error}.
import { Sha256 } from "./sha256.js";

const STEP = 4 * 1024 * 1024;

onmessage = async ({ data: file }) => {
  try {
    const hash = new Sha256();
    for (let at = 0; at < file.size; at += STEP) {
      hash.update(new Uint8Array(await file.slice(at, at + STEP).arrayBuffer()));
      postMessage({ done: Math.min(at + STEP, file.size) });
    }
    postMessage({ sha256: hash.hex() });
  } catch (error) {
    postMessage({ error: `The file could not be read: ${error.message}` });
  }
};
