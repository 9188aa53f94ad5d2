// Sends PCM to the server's WebSocket and gives what it answers. A lost connection is taken up where it was.

const KEPT_S = 60;
const MOST_BUFFERED_BYTES = 1 << 18;
const RETRIES_MS = [0, 500, 1000, 2000, 4000, 8000];

/**
 * One live transcription.
 *
 * options: {sampleRate, key, settings}: settings are keys of the message "start".
 * on: {open(message), partial(message), final(message), done(message), state(text), error(sentence)}.
 */
export class LiveStream {
  constructor(url, { sampleRate, key, settings }, on) {
    Object.assign(this, { url, sampleRate, key, settings, on });
    this.chunks = []; // {start, samples}: what may have to be sent again
    this.heard = 0; // samples that the microphone gave
    this.sent = 0;
    this.lastSeq = 0;
    this.session = null;
    this.failures = 0;
    this.ending = this.finished = this.accepted = false;
    this.connect();
  }

  /** Adds samples, Int16Array. */
  push(samples) {
    if (this.finished || this.ending) return;
    this.chunks.push({ start: this.heard, samples });
    this.heard += samples.length;
    while (this.chunks[0].start < this.heard - KEPT_S * this.sampleRate) this.chunks.shift();
    if (this.accepted && this.sent < this.chunks[0].start) {
      this.fail("The server recognizes slower than you speak; use a smaller model or a faster machine.");
    }
    this.send();
  }

  /** Ends the audio: the last words come, then `done`. */
  end() {
    this.ending = true;
    this.send();
  }

  /** Gives up without waiting for the last words. */
  close() {
    this.finished = true;
    clearInterval(this.timer);
    this.socket?.close();
  }

  connect() {
    const protocols = this.key ? ["jasper-tf", `jasper-tf.key.${base64Url(this.key)}`] : ["jasper-tf"];
    const socket = (this.socket = new WebSocket(this.url, protocols));
    this.accepted = this.endSent = false;
    socket.onopen = () => {
      const again = this.session ? { session_id: this.session, last_seq: this.lastSeq } : {};
      socket.send(JSON.stringify({ type: "start", sample_rate: this.sampleRate, ...this.settings, ...again }));
    };
    socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
    socket.onclose = ({ code }) => this.lost(code);
    // What the socket did not take yet is sent when it has room.
    clearInterval(this.timer);
    this.timer = setInterval(() => this.send(), 200);
  }

  receive(message) {
    if (message.type === "session") {
      this.session = message.session_id;
      this.failures = 0;
      this.accepted = true;
      this.sent = message.received_samples;
      this.on.state("");
      this.on.open(message);
      this.send();
    } else if (message.type === "partial") {
      this.on.partial(message);
    } else if (message.type === "final") {
      if (message.seq <= this.lastSeq) return;
      this.lastSeq = message.seq;
      this.socket.send(JSON.stringify({ type: "ack", seq: message.seq }));
      this.on.final(message);
    } else if (message.type === "done") {
      this.close();
      this.on.done(message);
    } else if (message.type === "error") {
      this.fail(message.error.message);
    }
  }

  send() {
    if (!this.accepted || this.socket.readyState !== WebSocket.OPEN) return;
    const first = this.chunks[0]?.start ?? this.heard;
    while (this.sent < first) {
      // Lost while the connection was away: silence keeps the times right.
      const silence = new Int16Array(Math.min(first - this.sent, this.sampleRate));
      this.socket.send(silence);
      this.sent += silence.length;
    }
    for (const { start, samples } of this.chunks) {
      if (start + samples.length <= this.sent) continue;
      if (this.socket.bufferedAmount > MOST_BUFFERED_BYTES) return;
      this.socket.send(samples.subarray(this.sent - start));
      this.sent = start + samples.length;
    }
    if (this.ending && !this.endSent) {
      this.endSent = true;
      this.socket.send(JSON.stringify({ type: "end" }));
    }
  }

  lost(code) {
    clearInterval(this.timer);
    this.accepted = false;
    if (this.finished) return;
    if (this.failures >= RETRIES_MS.length || (!this.session && this.failures > 1)) {
      this.fail(`The connection to the server is lost (code ${code}); look whether it runs, and start again.`);
      return;
    }
    this.on.state("The connection was lost; connecting again.");
    setTimeout(() => this.finished || this.connect(), RETRIES_MS[this.failures++]);
  }

  fail(sentence) {
    if (this.finished) return;
    this.close();
    this.on.error(sentence);
  }
}

function base64Url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
