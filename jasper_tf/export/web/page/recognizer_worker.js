// Runs the model beside the page, which stays responsive.
//
// Gets {id, audio: Float32Array}, answers {id, logProbs, frames, classes} or {id, error}. Before that it posts
// {progress, bytes}, 0 to 1 of the model's download (null if the server gives no size), and {ready: {bytes, threads}}
// or {failure}.

import * as ort from "../onnxruntime/ort.wasm.bundle.min.js";

// Threads need shared memory, which browsers give only to pages with the headers COOP and COEP.
const THREADS = self.crossOriginIsolated ? Math.min(4, Math.ceil(navigator.hardwareConcurrency / 2)) : 1;

ort.env.wasm.numThreads = THREADS;
ort.env.wasm.wasmPaths = { wasm: new URL("../onnxruntime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

const session = load(new URL("../model.onnx", import.meta.url));
let last = session; // one run at a time
self.onmessage = ({ data }) => (last = last.then(() => answer(data)));

async function load(url) {
  try {
    const bytes = await download(url);
    const loaded = await ort.InferenceSession.create(bytes, { graphOptimizationLevel: "all" });
    self.postMessage({ ready: { bytes: bytes.length, threads: THREADS } });
    return loaded;
  } catch (error) {
    self.postMessage({ failure: error.message });
    return null;
  }
}

async function download(url) {
  // The browser keeps the file, and asks whether it changed.
  const response = await fetch(url, { cache: "no-cache" });
  if (!response.ok) throw new Error(`model.onnx: the web server answered with status ${response.status}`);
  const size = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length"));
  const parts = [];
  let bytes = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    bytes += value.length;
    self.postMessage({ progress: size ? Math.min(1, bytes / size) : null, bytes });
  }
}

async function answer({ id, audio }) {
  try {
    const given = {
      audio: new ort.Tensor("float32", audio, [1, audio.length]),
      audio_len: new ort.Tensor("int32", [audio.length], [1]),
    };
    const found = await (await session).run(given);
    const [frames, classes] = [found.log_probs_len.data[0], found.log_probs.dims[2]];
    const logProbs = found.log_probs.data.slice(0, frames * classes);
    self.postMessage({ id, logProbs, frames, classes }, [logProbs.buffer]);
  } catch (error) {
    self.postMessage({ id, error: error.message ?? String(error) });
  }
}
