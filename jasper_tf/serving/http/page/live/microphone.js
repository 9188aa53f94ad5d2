/** Why this page may not use a microphone, one sentence; null if it may. */
export function whyNoMicrophone() {
  if (!window.isSecureContext) {
    return (
      `The microphone needs https or localhost: browsers give none to a page from ${location.origin}. ` +
      "Open this page as http://localhost on the server's own machine, or start the server with a TLS certificate. " +
      "Files work from here."
    );
  }
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    return "This browser gives pages no microphone. Files work.";
  }
  return null;
}

/**
 * Opens the microphone; `onSamples` gets Int16Array of 100 ms each.
 *
 * wantedRate: hertz; a browser that cannot resample gives the rate of the microphone instead.
 * Returns {sampleRate, stop()}. Throws Error with a sentence for people.
 */
export async function openMicrophone(wantedRate, onSamples) {
  let media;
  try {
    // What the browser would do to the sound is made for people's ears, not for a recognizer.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    media = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Error(refusals[error.name] ?? `The microphone cannot be opened (${error.message}).`);
  }
  const { context, source } = connect(media, wantedRate);
  await context.audioWorklet.addModule(new URL("pcm_worklet.js", import.meta.url));
  const worklet = new AudioWorkletNode(context, "pcm", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  worklet.port.onmessage = ({ data }) => onSamples(data);
  source.connect(worklet);
  await context.resume();
  return {
    sampleRate: context.sampleRate,
    stop() {
      worklet.port.onmessage = null;
      for (const track of media.getTracks()) track.stop();
      if (context.state !== "closed") context.close();
    },
  };
}

const refusals = {
  NotAllowedError: "The browser was told not to give this page the microphone; allow it beside the address of the page.",
  NotFoundError: "This computer has no microphone; connect one, or choose a file.",
  NotReadableError: "Another program uses the microphone; close it and try again.",
};

function connect(media, wantedRate) {
  const context = new AudioContext({ sampleRate: wantedRate });
  try {
    return { context, source: context.createMediaStreamSource(media) };
  } catch {
    // Firefox connects no microphone to a context of another rate.
    context.close();
    const own = new AudioContext();
    return { context: own, source: own.createMediaStreamSource(media) };
  }
}
