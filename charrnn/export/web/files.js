// Files that the page gives.

function save(name, bytes, type) {
  const href = URL.createObjectURL(new Blob([bytes], { type }));
  make("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

// A WAV file of one channel with 16 bits, from samples between -1 and 1.
function wavOf(samples, rate) {
  const file = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const name = (at, text) => [...text].forEach((c, k) => file.setUint8(at + k, c.charCodeAt()));
  name(0, "RIFF");
  file.setUint32(4, 36 + 2 * samples.length, true);
  name(8, "WAVEfmt ");
  file.setUint32(16, 16, true); // bytes of what describes the samples
  file.setUint16(20, 1, true); // PCM
  file.setUint16(22, 1, true); // channels
  file.setUint32(24, rate, true);
  file.setUint32(28, 2 * rate, true); // bytes a second
  file.setUint16(32, 2, true); // bytes of a sample
  file.setUint16(34, 16, true); // bits of a sample
  name(36, "data");
  file.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, k) => {
    const limited = Math.max(-1, Math.min(1, sample));
    file.setInt16(44 + 2 * k, Math.round(32767 * limited), true);
  });
  return new Uint8Array(file.buffer);
}
