// Elements made of text, never of markup: what a document says cannot become a part of the page.

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** An element with properties (`class` and `aria-...` as attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** `1 passage`, `5,183 passages`. */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
