import { asSrt, asVtt } from "./subtitles.js";

const TYPES = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" };

/** The content of a transcript's file: txt, srt, vtt or json. */
export function formatTranscript(transcript, format) {
  if (format === "srt") return asSrt(transcript.words);
  if (format === "vtt") return asVtt(transcript.words);
  if (format === "json") return `${JSON.stringify(transcript, null, 2)}\n`;
  const lines = transcript.segments?.map((segment) => segment.text) ?? [transcript.text];
  return `${lines.join("\n")}\n`;
}

/** Saves a transcript as `name` with the suffix of the format. */
export function download(transcript, format, name) {
  const url = URL.createObjectURL(new Blob([formatTranscript(transcript, format)], { type: TYPES[format] }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
