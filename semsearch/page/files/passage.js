// The text of a passage with what answers the query marked.

import { element } from "./dom.js";

const LONGEST = 700; // characters of a passage that are shown unasked
const BEFORE = 120; // of them, so many before the marked sentence

/** A paragraph of a text; long ones are cut around the marked sentence until one asks for all. */
export function passage(text, highlight) {
  const characters = [...text]; // the server counts code points, not UTF-16 units
  const shown = element("p", { className: "passage" });
  const all = { start: 0, end: characters.length };
  const [start, end] = highlight?.sentence ?? highlight?.words[0] ?? [0, 0];
  const excerpt = around(start, end, characters.length);
  const show = (part) => shown.replaceChildren(...marked(characters, part, highlight));
  show(excerpt);
  if (excerpt.end - excerpt.start < characters.length) shown.append(" ", more(() => show(all)));
  return shown;
}

function around(start, end, length) {
  if (length <= LONGEST) return { start: 0, end: length };
  const from = end <= LONGEST ? 0 : Math.max(0, Math.min(start - BEFORE, length - LONGEST));
  return { start: from, end: Math.min(length, Math.max(from + LONGEST, end)) };
}

function more(show) {
  const button = element("button", { type: "button", className: "link" }, "Show all of it");
  button.onclick = show;
  return button;
}

function marked(characters, part, highlight) {
  const [first, last] = highlight?.sentence ?? [0, 0];
  const words = highlight?.words ?? [];
  const wordStarts = new Set(words.map(([start]) => start));
  const sentence = element("mark", { className: "sentence" });
  const shown = [part.start > 0 ? "… " : ""];
  for (const [start, end] of cut(part, [first, last, ...words.flat()])) {
    const text = characters.slice(start, end).join("");
    const piece = wordStarts.has(start) ? element("mark", { className: "word" }, text) : text;
    if (start < first || start >= last) shown.push(piece);
    else sentence.append(piece);
    if (end === last) shown.push(sentence);
  }
  return [...shown, part.end < characters.length ? " …" : ""];
}

/** A part of a text in pieces, cut wherever a mark begins or ends. */
function cut(part, marks) {
  const inside = marks.filter((mark) => mark > part.start && mark < part.end);
  const cuts = [...new Set([part.start, ...inside, part.end])].sort((one, other) => one - other);
  return cuts.slice(1).map((end, number) => [cuts[number], end]);
}
