// The spectrogram of what is played: time to the right, frequency up, equally wide octaves.

// From silence to the loudest; the first is the card that the picture is on.
const DARK = ["#1d2026", "#2d1e5b", "#722282", "#b63779", "#f1605d", "#feb078", "#fcfdbf"];
const LIGHT = ["#ffffff", "#fed395", "#fa8a62", "#d3436e", "#8c2981", "#40127b", "#0b0724"];
const LABELS_HZ = [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000];
const [LEFT, BELOW] = [46, 24]; // room for the labels, in pixels
const AT = 0.7; // of the width: where what is heard stands while the picture scrolls

class Picture {
  constructor({ codec, lowest_hz: lowest }) {
    this.rows = codec.rows.length - 1;
    this.perSecond = codec.rate / codec.hop / codec.stride; // columns
    this.octaves = Math.log2(codec.rate / 2 / lowest);
    this.lowest = lowest;
    this.isDark = matchMedia("(prefers-color-scheme: dark)");
    this.reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
    this.image = make("canvas"); // a pixel for each level
    this.element = make("canvas.picture", { role: "img" });
    this.clear();
    this.isDark.addEventListener("change", () => this.paint());
    this.reducedMotion.addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(this.element);
  }

  clear() {
    this.columns = [];
    this.time = this.end = 0; // what is heard and what there is, in seconds
  }

  // Shows what is around a time.
  show(time, end) {
    Object.assign(this, { time, end });
    this.paint();
  }

  paint() {
    const { element, end, isDark, reducedMotion } = this;
    const { clientWidth, clientHeight } = element;
    if (!clientWidth) return;
    const style = getComputedStyle(element);
    const [paper, muted] = ["--card", "--muted"].map((name) => style.getPropertyValue(name));
    const kind = isDark.matches ? "brighter" : "darker";
    const label = `Spectrogram, ${end.toFixed(0)} seconds: the ${kind}, the louder`;
    if (element.getAttribute("aria-label") !== label) element.setAttribute("aria-label", label);
    const [width, height] = [clientWidth - LEFT, clientHeight - BELOW];
    const span = Math.min(10, Math.max(3, width / 90)); // seconds that are seen
    const pages = Math.floor(this.time / span) * span;
    const begin = reducedMotion.matches ? pages : Math.max(0, this.time - AT * span);
    const pen = this.pen(paper);
    pen.save();
    pen.translate(LEFT, 0);
    pen.beginPath();
    pen.rect(0, 0, width, height);
    pen.clip();
    this.paintLevels(pen, begin, span, width, height);
    const place = (time) => ((time - begin) / span) * width;
    pen.fillStyle = paper;
    pen.globalAlpha = 0.45; // what will be heard is paler
    pen.fillRect(place(this.time), 0, width, height);
    pen.globalAlpha = 1;
    pen.fillRect(place(end), 0, width, height);
    pen.fillStyle = style.color;
    pen.fillRect(place(this.time) - 1, 0, 2, height);
    pen.restore();
    pen.fillStyle = muted;
    this.paintLabels(pen, begin, span, width, height);
  }

  // What draws on the element, in its pixels on the screen, which is empty.
  pen(paper) {
    const { element } = this;
    const { clientWidth, clientHeight } = element;
    const ratio = devicePixelRatio;
    const size = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (element.width !== size[0] || element.height !== size[1]) {
      [element.width, element.height] = size;
    }
    const pen = element.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = paper;
    pen.fillRect(0, 0, clientWidth, clientHeight);
    return pen;
  }

  paintLevels(pen, begin, span, width, height) {
    const { image, rows, perSecond } = this;
    const first = Math.floor(begin * perSecond);
    const columns = this.columns.slice(first, first + Math.ceil(span * perSecond) + 2);
    if (!columns.length) return;
    const palette = paletteOf(this.isDark.matches ? DARK : LIGHT);
    const pixels = new ImageData(columns.length, rows);
    const colours = new Uint32Array(pixels.data.buffer);
    columns.forEach((column, x) => {
      for (let row = 0; row < rows; row++) {
        colours[(rows - 1 - row) * columns.length + x] = palette[column[row]];
      }
    });
    [image.width, image.height] = [columns.length, rows];
    image.getContext("2d").putImageData(pixels, 0, 0);
    const step = width / span / perSecond; // width of a column, whose frame is around its middle
    const left = (first - begin * perSecond - 0.5) * step;
    pen.drawImage(image, left, 0, columns.length * step, height);
  }

  paintLabels(pen, begin, span, width, height) {
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    const placeOf = (hz) => height * (1 - Math.log2(hz / this.lowest) / this.octaves);
    const seen = LABELS_HZ.filter((hz) => placeOf(hz) >= 0 && placeOf(hz) <= height);
    for (const hz of seen) {
      const y = placeOf(hz);
      pen.fillRect(LEFT - 4, y, 4, 1);
      const text = hz < 1000 ? hz : `${hz / 1000}k`;
      pen.fillText(hz === seen.at(-1) ? `${text} Hz` : text, LEFT - 6, Math.max(7, y));
    }
    pen.textAlign = "center";
    for (let time = Math.ceil(begin); time <= begin + span; time++) {
      const x = LEFT + ((time - begin) / span) * width;
      pen.fillRect(x, height, 1, 4);
      const isIn = x < LEFT + width - 12;
      if (isIn) pen.fillText(`${time} s`, Math.max(LEFT, x), height + 14);
    }
  }
}

// 256 colours, as pixels, between the stops.
const palettes = new Map();
function paletteOf(stops) {
  if (palettes.has(stops)) return palettes.get(stops);
  const parts = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  const bytes = new Uint8ClampedArray(4 * 256).fill(255);
  for (let level = 0; level < 256; level++) {
    const place = (level / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    for (let part = 0; part < 3; part++) {
      const [one, other] = [parts[below][part], parts[below + 1][part]];
      bytes[4 * level + part] = one + (place - below) * (other - one);
    }
  }
  palettes.set(stops, new Uint32Array(bytes.buffer));
  return palettes.get(stops);
}
