// What the pages share: elements, text of others that can do no harm, and the worker.

"use strict";

// A maker of elements: its arguments are a tag with classes, "p.hint", and in any order texts,
// elements, objects with attributes and handlers, and null for nothing.
function maker(space) {
  return (tag, ...parts) => {
    const [name, ...classes] = tag.split(".");
    const made = document.createElementNS(`http://www.w3.org/${space}`, name);
    if (classes.length) made.classList.add(...classes);
    for (const part of parts.flat()) {
      if (part?.constructor !== Object) {
        made.append(part ?? "");
        continue;
      }
      for (const [key, value] of Object.entries(part)) {
        if (typeof value === "function") made.addEventListener(key, value);
        else made.setAttribute(key, value);
      }
    }
    return made;
  };
}

const make = maker("1999/xhtml");

// Text in which nothing is hidden: controls, and marks that turn the direction of what follows,
// are shown as signs.
function visible(text) {
  // Of the marks for formatting, those that join letters stay.
  const hidden = /(?![\t\n])\p{Cc}|(?![\u200c\u200d])\p{Cf}|\p{Cs}|[\u2028\u2029]/gu;
  return String(text ?? "").replace(hidden, (character) => {
    const code = character.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

// Text of others, which cannot change the direction of what is around it.
const foreign = (text, tag = "bdi") => make(tag, { dir: "auto" }, visible(text));

// A worker that runs this source; if it cannot, onmessage gets { kind: "failed", why }.
function workerOf(source) {
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  worker.onerror = (event) => worker.onmessage({ data: { kind: "failed", why: event.message } });
  return worker;
}
