// What lies between two pictures of a collection: a slider goes from one to the other.

import { ask, askForPicture, Problem } from "./api.js";
import { element } from "./dom.js";

const STEPS = 21;

export class MorphView {
  /** In an element; `clear()` is told when it is not wanted any more. */
  constructor(parent, clear) {
    Object.assign(this, { parent, clear, asked: null, made: [], real: new Map() });
  }

  /** Show the way between two pictures; of one alone, say that the other is to be chosen. */
  async show(collection, from, to, { focus = false } = {}) {
    const asked = JSON.stringify([collection, from, to]);
    if (this.asked === asked) return;
    this.leave();
    if (!from && !to) return;
    Object.assign(this, { asked, collection, waiting: new AbortController() });
    this.showHead(from, to);
    if (from && to) await this.showWay(from, to, focus, this.waiting.signal);
  }

  /** Show nothing, and keep no picture. */
  leave() {
    this.waiting?.abort();
    this.made.forEach(URL.revokeObjectURL);
    for (const address of this.real.values()) address.then(URL.revokeObjectURL);
    Object.assign(this, { asked: null, made: [], real: new Map() });
    this.parent.hidden = true;
    this.parent.replaceChildren();
  }

  showHead(from, to) {
    const title = `Morph${from && ` from ${from}`}${to && ` to ${to}`}`;
    const close = element("button", { type: "button", className: "plain" }, "Clear morph");
    close.onclick = this.clear;
    this.status = element("p", { className: "quiet", role: "status" });
    this.parent.hidden = false;
    this.parent.replaceChildren(element("header", {}, element("h2", {}, title), close), this.status);
    if (!from) this.status.textContent = "Choose “Morph from this” at another picture.";
    else if (!to) this.status.textContent = "Choose “Morph to this” at another picture.";
    else this.status.textContent = "Decoding what lies between them …";
  }

  async showWay(start, end, focus, signal) {
    const query = new URLSearchParams({ start, end, steps: STEPS });
    try {
      const { steps } = await ask(`collections/${this.collection}/morph?${query}`, undefined, signal);
      this.status.textContent = "";
      this.showSteps(steps, focus);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Problem)) throw error;
      this.asked = null; // asking for the same again tries again
      this.status.replaceWith(element("p", { role: "alert" }, error.message));
    }
  }

  showSteps(steps, focus) {
    this.made = steps.map(({ picture }) => addressOf(picture));
    const [made, real] = [1, 2].map(() => element("img", { className: "picture" }));
    const name = element("span", { className: "name" });
    const way = { id: "way", type: "range", min: 0, max: steps.length - 1, "aria-label": "Way" };
    const slider = element("input", { ...way, value: Math.floor(steps.length / 2) });
    const share = element("output", { htmlFor: "way" });
    const show = async () => {
      const at = slider.valueAsNumber;
      const { id, score } = steps[at].nearest;
      share.value = `${Math.round(100 * steps[at].share)} %`;
      name.textContent = `${id} (${score.toFixed(3)})`;
      slider.setAttribute("aria-valuetext", `${share.value}, nearest is ${id}`);
      Object.assign(made, { src: this.made[at], alt: `${share.value} of the way` });
      const address = await this.realPicture(id);
      if (slider.valueAsNumber === at) Object.assign(real, { src: address, alt: id });
    };
    slider.oninput = show;
    this.parent.append(
      element("p", { className: "way" }, slider, share),
      figure(made, "Decoded on the way"),
      figure(real, "Nearest picture: ", name),
    );
    show();
    if (focus) slider.focus();
  }

  /** The address of a picture of the collection; empty if it cannot be had. */
  realPicture(id) {
    const path = `collections/${this.collection}/picture?${new URLSearchParams({ id })}`;
    if (!this.real.has(id)) this.real.set(id, askForPicture(path).catch(() => ""));
    return this.real.get(id);
  }
}

const figure = (image, ...caption) =>
  element("figure", {}, image, element("figcaption", {}, ...caption));

/** An address for a PNG in base64; the page's policy allows no `data:`. */
function addressOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
}
