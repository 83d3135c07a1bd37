// A small piano on the screen, and the notes that were played on it.

// The keys of a computer for two octaves, as in trackers: a row of letters with the black keys in
// the row above it, and once more.
const CODES = [..."ZSXDCVGBHNJM", ..."Q2W3ER5T6Y7UI"];
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

const pitchName = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

class Keyboard {
  // press: a function of a pitch, which gives one that ends its sound.
  constructor(lowest, count, press) {
    Object.assign(this, { lowest, press, held: new Map() });
    this.keys = Array.from({ length: count }, (_, index) => this.key(index));
    this.keys[0].tabIndex = 0;
    const label = { role: "group", "aria-label": "Piano keyboard; arrows move along it" };
    const contextmenu = (event) => event.preventDefault(); // a finger may stay long
    this.element = make("div.keys", label, { contextmenu }, this.keys);
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, ({ pointerId }) => this.release(`p${pointerId}`));
    }
    addEventListener("blur", () => this.held.forEach((_, name) => this.release(name)));
    addEventListener("keydown", (event) => this.typed(event));
    addEventListener("keyup", ({ code }) => this.release(code));
  }

  key(index) {
    const pitch = this.lowest + index;
    const isBlack = NAMES[pitch % 12].length > 1;
    const key = make(isBlack ? "button.black" : "button.white", {
      type: "button",
      tabindex: -1,
      "aria-label": pitchName(pitch),
      "aria-keyshortcuts": CODES[index],
      pointerdown: (event) => {
        key.releasePointerCapture(event.pointerId); // a finger may slide along
        this.down(`p${event.pointerId}`, index);
      },
      pointerenter: ({ buttons, pointerId }) => buttons && this.down(`p${pointerId}`, index),
      pointerleave: ({ pointerId }) => this.release(`p${pointerId}`),
      keydown: (event) => this.moved(event, index),
      keyup: (event) => event.preventDefault(), // or the space bar would click
      // A screen reader clicks without a pointer.
      click: ({ detail }) => {
        if (detail) return;
        this.down("click", index);
        setTimeout(() => this.release("click"), 300);
      },
    }, make("span", { "aria-hidden": true }, CODES[index]));
    const white = [0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6][index % 12] + 7 * Math.floor(index / 12);
    key.style.gridColumn = `${2 * white + (isBlack ? 0 : 1)} / span 2`;
    key.classList.toggle("upper", index > 12);
    return key;
  }

  // Presses a key; each finger, key of the computer and so on holds one at most.
  down(name, index) {
    if (this.held.get(name)?.index === index) return;
    this.release(name);
    this.keys[index].classList.add("down");
    this.held.set(name, { index, end: this.press(this.lowest + index) });
  }

  release(name) {
    const { index, end } = this.held.get(name) ?? {};
    if (!this.held.delete(name)) return;
    this.keys[index].classList.remove("down");
    end();
  }

  typed(event) {
    const index = CODES.indexOf(event.code?.replace(/^(Key|Digit)/, ""));
    const isOther = event.ctrlKey || event.altKey || event.metaKey || event.repeat;
    if (index < 0 || isOther || event.target.closest?.("input, select, textarea")) return;
    this.down(event.code, index);
  }

  // On a key that has the focus, the space bar and Enter press it and arrows move the focus.
  moved(event, index) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (step) {
      const next = this.keys[index + step];
      if (!next?.offsetParent) return;
      [this.keys[index].tabIndex, next.tabIndex] = [-1, 0];
      next.focus();
    } else if (event.key === " " || event.key === "Enter") {
      if (!event.repeat) this.down(event.code, index);
    } else return;
    event.preventDefault();
  }
}

const MOST_BARS = 64; // of a beginning

// What was played, in grid steps from the first note on.
class Recorder {
  constructor() {
    this.clear();
  }

  clear() {
    Object.assign(this, { notes: [], place: 0, time: 0 });
  }

  // Notes that were played before; what is played now follows them.
  load(notes) {
    this.notes = notes;
    [this.place, this.time] = [this.end, performance.now() / 1000];
  }

  get end() {
    return Math.max(0, ...this.notes.map(({ onset, length }) => onset + length));
  }

  // Adds a note that begins now; rate: grid steps a second; bar: grid steps.  After a rest of more
  // than a bar, it begins with a bar.  Gives what is called when the note ends, or null: there is
  // no room for it.
  begin(note, now, rate, bar, isHeld) {
    this.place = this.notes.length ? this.place + (now - this.time) * rate : 0;
    if (!isHeld && this.place > this.end + bar) {
      this.place = Math.ceil(this.end / bar) * bar;
    }
    this.time = now;
    const onset = Math.round(this.place);
    if (onset >= MOST_BARS * bar) return null;
    const added = { ...note, onset, length: 1 };
    this.notes.push(added);
    return (end) => {
      added.length = Math.max(1, Math.min(MOST_LENGTH, Math.round((end - now) * rate)));
    };
  }
}
