// Hits as a list: what was found, where it is from, and what one can do with it. `act` has what the
// parts of it do: `like(id)`, `filter(condition)`, `clear()`, and for pictures `picture(id)`,
// `from(id)` and `to(id)`.

import { element } from "./dom.js";
import { passage } from "./passage.js";
import { condition } from "./filter.js";

const MOST_VALUES = 4; // of one field

/** One hit. */
export function hit(found, rank, best, highlight, act) {
  const name = found.title || found.id;
  const likeButton = button("More like this", `More like ${name}`, () => act.like(found.id));
  return element(
    "li",
    { "data-chunk": found.chunk },
    element(
      "article",
      { "aria-labelledby": `hit-${rank}` },
      element(
        "header",
        {},
        element("h2", { id: `hit-${rank}` }, name),
        score(found.score, best),
      ),
      content(found, name, highlight, act),
      chips(found.metadata, act.filter),
      element("footer", {}, ...origin(found), ...morphButtons(found.id, name, act), likeButton),
    ),
  );
}

/** The document that others are to be like. */
export function subject(given, act) {
  const name = given.title || given.id;
  const close = element("button", { type: "button", className: "plain" }, "Clear");
  close.onclick = act.clear;
  return element(
    "article",
    { className: "subject", "aria-label": `Like ${name}` },
    element("header", {}, element("h2", {}, name), close),
    content(given, name, null, act),
    chips(given.metadata, act.filter),
    element("footer", {}, ...origin(given), ...morphButtons(given.id, name, act)),
  );
}

/** The passage, or in a collection of pictures the picture. */
function content(found, name, highlight, act) {
  if (!act.picture) return passage(found.text, highlight);
  const image = element("img", { className: "picture", alt: name });
  image.onload = () => URL.revokeObjectURL(image.src);
  act.picture(found.id).then(
    (address) => (image.src = address),
    (problem) => image.replaceWith(problem.message),
  );
  return image;
}

function score(value, best) {
  const bar = element("span", { className: "bar", "aria-hidden": "true" }, element("span"));
  bar.firstChild.style.width = `${Math.max(0, Math.min(100, (100 * value) / best))}%`;
  const label = element("span", { className: "hidden" }, "Score ");
  return element("p", { className: "score" }, bar, label, value.toFixed(3));
}

function origin(found) {
  const source = found.source;
  const isLink = /^https?:\/\//i.test(source ?? "");
  const parts = [];
  if (found.title) parts.push(element("span", { className: "id" }, found.id));
  if (isLink) parts.push(element("a", { href: source, rel: "noreferrer" }, source));
  else if (source) parts.push(element("span", { className: "source" }, source));
  return parts;
}

function morphButtons(id, name, act) {
  if (!act.picture) return [];
  return [
    button("Morph from this", `Morph from ${name}`, () => act.from(id)),
    button("Morph to this", `Morph to ${name}`, () => act.to(id)),
  ];
}

function button(text, label, onclick) {
  const made = element("button", { type: "button", className: "link", "aria-label": label }, text);
  made.onclick = onclick;
  return made;
}

/** Metadata; a click on a value makes it a condition of the filter. */
function chips(metadata, filter) {
  const fields = Object.entries(metadata).filter(([, value]) => !isEmpty(value));
  if (!fields.length) return null;
  fields.sort(([, one], [, other]) => Array.isArray(one) - Array.isArray(other)); // lists are long
  const list = element("dl", { className: "metadata" });
  for (const [field, value] of fields) {
    const values = Array.isArray(value) ? value : [value];
    const shown = values.slice(0, MOST_VALUES).map((one) => chip(field, one, filter));
    const left = values.length - shown.length;
    const rest = left > 0 ? element("span", { className: "quiet" }, `+ ${left}`) : null;
    const parts = [element("dt", {}, field), element("dd", {}, ...shown, rest)];
    list.append(element("div", {}, ...parts));
  }
  return list;
}

const isEmpty = (value) => value === "" || (Array.isArray(value) && !value.length);

function chip(field, value, filter) {
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  const asked = condition(field, value);
  if (asked === null) return element("span", { className: "chip" }, text);
  const title = `Only where ${asked}`;
  const button = element("button", { type: "button", className: "chip", title }, text);
  button.onclick = () => filter(asked);
  return button;
}
