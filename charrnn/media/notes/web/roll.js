// A piano roll: time from left to right, pitch from low to high, a colour for each part; drums
// stand below, one row for each.

const SECOND_PX = 80;
const DRUM_PX = 7; // of a row, or less where there are many
const AT_LEAST = 20; // semitones
const HEAD = 0.35; // of the width: where the playhead stays

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

class Roll {
  constructor(parts) {
    this.parts = parts;
    this.canvas = make("canvas.roll", { role: "img", "aria-label": "Piano roll, empty" });
    this.tune = null;
    this.place = () => -1; // seconds of the tune; less than 0: it is not played
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // Shows a tune, of which so many bars were there before the network went on; the tune may grow.
  show(tune, primed) {
    Object.assign(this, { tune, primed, counted: 0, low: 128, high: 0, drums: [] });
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const [width, height, scale] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    this.pen = canvas.getContext("2d");
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    this.colour = (name) => style.getPropertyValue(`--${name}`);
    if (this.tune) this.paint(width, height);
  }

  paint(width, height) {
    const { tune, pen } = this;
    this.count();
    const now = this.place();
    const place = Math.max(0, now);
    const left = this.leftOf(place, width / SECOND_PX);
    const x = (seconds) => (seconds - left) * SECOND_PX;
    const line = (seconds, name, size) => {
      pen.fillStyle = this.colour(name);
      pen.fillRect(Math.round(x(seconds)), 0, size, height);
    };
    const rows = this.drums.length;
    const isMelodic = this.low <= this.high;
    const drum = isMelodic ? Math.min(DRUM_PX, (0.35 * height) / rows) : (height - 8) / rows;
    const bottom = height - (rows ? drum * rows + 8 : 0);
    const middle = (this.low + this.high) / 2;
    const span = Math.max(AT_LEAST, this.high - this.low + 3);
    const size = bottom / span;
    const y = (pitch) => bottom / 2 - (pitch - middle + 0.5) * size;
    for (const [index, { begin }] of tune.bars.entries()) {
      const isFirst = index === this.primed && index;
      const seconds = tune.seconds(begin);
      if (x(seconds) > width) break;
      line(seconds, isFirst ? "accent" : "line", isFirst ? 2 : 1);
    }
    for (const note of tune.notes) {
      if (x(note.begin) > width) break;
      const end = x(tune.endOf(note));
      if (end < 0) continue;
      const isNow = now >= note.begin && end > x(now);
      pen.fillStyle = this.colour(`series${note.part % 5}`);
      pen.globalAlpha = isNow ? 1 : 0.7;
      if (this.parts[note.part][2]) {
        const row = this.drums.indexOf(note.pitch);
        pen.fillRect(x(note.begin), height - 4 - (row + 1) * drum, DRUM_PX, drum - 2);
      } else {
        const top = y(note.pitch) + (isNow ? 0 : size * 0.1);
        const long = Math.max(3, end - x(note.begin) - 1);
        pen.fillRect(x(note.begin), top, long, Math.max(2, size * (isNow ? 1 : 0.8)));
      }
    }
    pen.globalAlpha = 1;
    if (now >= 0) line(now, "ink", 2);
  }

  // Which pitches there are.
  count() {
    for (const { pitch, part } of this.tune.notes.slice(this.counted)) {
      if (!this.parts[part][2]) {
        [this.low, this.high] = [Math.min(this.low, pitch), Math.max(this.high, pitch)];
      } else if (!this.drums.includes(pitch)) this.drums.push(pitch);
    }
    this.counted = this.tune.notes.length;
    this.drums.sort((one, other) => one - other);
  }

  // The time at the left edge; where nothing should move, that of a bar, until the playhead leaves
  // what is seen.
  leftOf(place, seen) {
    if (!reducedMotion.matches) return Math.max(0, place - HEAD * seen);
    let left = 0;
    for (const { begin } of this.tune.bars) {
      const seconds = this.tune.seconds(begin);
      if (seconds > place) break;
      if (place >= left + seen * 0.9) left = seconds;
    }
    return left;
  }
}
