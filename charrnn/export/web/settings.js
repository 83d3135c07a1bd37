// The fields with the settings, and the link that holds them.

function newSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}

// The fields that pages have in common; what: what a seed gives.
function defaultFields({ temperature, top_p }, what) {
  const isOne = temperature.length === 1;
  const calm = isOne ? "lower is safer, higher is wilder" : "these alternate, step by step";
  const list = { value: temperature.join(", "), most: 1e6, range: [0, 2], isList: true };
  const part = { value: top_p, least: Number.MIN_VALUE, most: 1, range: [0.05, 1] };
  const cut = "less than 1 leaves out what is unlikely";
  const same = `the same seed gives the same ${what}`;
  return {
    temperature: { name: "temperature", title: "Temperature", hint: calm, ...list },
    top_p: { name: "top_p", title: "Top-p", hint: cut, ...part },
    seed: { name: "seed", title: "Seed", hint: same, value: newSeed(), most: 2 ** 53 - 1 },
  };
}

// From text to numbers, of which a list has several; null: it makes no sense.  What has no slider
// must be whole.
function parsed({ range, isList }, text) {
  const values = text.split(",").map((part) => (part.trim() ? Number(part) : NaN));
  const makesSense = (value) => (range ? value < Infinity : Number.isInteger(value));
  return (isList || values.length === 1) && values.every(makesSense) ? values : null;
}

// Numbers in their range.
function limited({ least = 0, most }, values) {
  return values.map((value) => Math.min(Math.max(value, least), most));
}

class Settings {
  // fields: objects with name, title, hint, value, least (0), most; range, for a slider (its step
  // is 0.05, or `step`), and isList; changed: what is called when one of them has changed.
  constructor(fields, changed) {
    this.changed = changed;
    this.defaults = {};
    this.fields = {};
    this.sliders = {};
    this.elements = fields.map((field) => this.element(field));
  }

  element(own) {
    const { name, title, hint, range } = own;
    this.defaults[name] = own;
    const field = make("input", {
      id: name,
      autocomplete: "off",
      inputmode: range ? "decimal" : "numeric",
      value: own.value,
      "aria-describedby": `${name}-hint`,
      input: () => this.update(),
      change: () => this.tidy(),
    });
    this.fields[name] = field;
    const [min, max] = range ?? [];
    const slide = () => this.set(name, Number(slider.value));
    const sliding = { type: "range", min, max, step: own.step ?? 0.05, input: slide };
    const slider = range ? make("input", sliding, { "aria-label": `${title}, slider` }) : null;
    if (slider) this.sliders[name] = slider;
    const about = make("p.hint", { id: `${name}-hint` }, hint);
    const line = make("div.line", slider, field);
    const tag = range ? "div.wide" : "div";
    return make(tag, make("label", { for: name }, title), line, about);
  }

  // The numbers in a field, in their range; if they make no sense, those that were there at first.
  values(name) {
    const own = this.defaults[name];
    return limited(own, this.typed(name) ?? parsed(own, String(own.value)));
  }

  // The numbers as they were typed, also with a decimal comma.
  typed(name) {
    const { value } = this.fields[name];
    return parsed(this.defaults[name], value.replace(/(\d),(?=\d)/g, "$1."));
  }

  value(name) {
    return this.values(name)[0];
  }

  set(name, value) {
    this.fields[name].value = value;
    this.update();
  }

  update() {
    for (const [name, field] of Object.entries(this.fields)) {
      const { least = 0, most, hint } = this.defaults[name];
      const isRight = `${this.typed(name)}` === `${this.values(name)}`;
      field.setAttribute("aria-invalid", !isRight);
      const range = least < 0.001 ? `a number up to ${most}` : `from ${least} to ${most}`;
      at(`${name}-hint`).textContent = isRight ? hint : range;
    }
    for (const [name, slider] of Object.entries(this.sliders)) slider.value = this.value(name);
    this.changed();
  }

  // What makes no sense becomes what it was at first, and what is out of range the nearest.
  tidy() {
    for (const name in this.fields) this.fields[name].value = this.values(name).join(", ");
    this.update();
  }

  // Puts them into the address of the page, which it gives, with other values.
  toLink(others) {
    const parts = new URLSearchParams();
    for (const name in this.fields) parts.set(name, this.values(name).join());
    for (const [name, value] of Object.entries(others)) parts.set(name, value);
    history.replaceState(null, "", `#${parts}`);
    return location.href;
  }

  // Takes them from the fragment of an address; gives all its values.
  fromLink(hash) {
    const parts = new URLSearchParams(hash.slice(1));
    for (const [name, field] of Object.entries(this.fields)) {
      const values = parsed(this.defaults[name], parts.get(name) ?? "");
      const isRight = values && `${values}` === `${limited(this.defaults[name], values)}`;
      if (isRight) field.value = values.join(", ");
    }
    this.update();
    return parts;
  }
}
