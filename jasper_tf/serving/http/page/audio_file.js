/**
 * Decodes any file that the browser can play, at `sampleRate`, to samples Float32Array [S]: the mean of its channels.
 *
 * Throws DOMException where the browser knows no decoder for it.
 */
export async function decodeAudioFile(file, sampleRate) {
  const bytes = await file.arrayBuffer();
  const audio = await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes);
  const samples = audio.getChannelData(0);
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    const others = audio.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] += (others[i] - samples[i]) / (channel + 1);
  }
  return samples;
}
