// The map of a collection, beside the results: a click shows what is like a point.

import { ask, Problem } from "./api.js";
import { count, element } from "./dom.js";
import { Scatter } from "./scatter.js";

const ASKED_EVERY = 700; // ms, while the map is being drawn

export class MapView {
  /** In an element; `choose(id)` is told of a click on a passage of that document. */
  constructor(parent, choose) {
    Object.assign(this, { parent, choose, collection: null, scatter: null, hits: [], like: null });
  }

  /** Show the map of a collection, as soon as the server has drawn it; a noun for what it holds. */
  async show(collection, noun) {
    if (this.collection === collection) return;
    this.leave();
    Object.assign(this, { collection, noun });
    this.waiting = new AbortController();
    const { signal } = this.waiting;
    try {
      const found = await this.drawn(collection, signal);
      if (!signal.aborted) this.showPoints(found);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.collection = null; // choosing the map again tries again
      this.say(element("p", { role: "alert" }, error.message));
    }
  }

  /** Stop waiting for a map, and keep none: the next one may be of a newer commit. */
  leave() {
    this.waiting?.abort();
    Object.assign(this, { collection: null, scatter: null });
    this.parent.replaceChildren();
  }

  /** Light up hits, and put a ring around the document that they are like. */
  light(hits, like) {
    Object.assign(this, { hits, like });
    if (!this.scatter) return;
    const places = hits.map(({ chunk }) => this.places.get(chunk)).filter((at) => at !== undefined);
    this.scatter.light(places, like ? this.ids.indexOf(like) : -1);
    const missing = hits.length - places.length;
    this.missing.textContent = missing ? ` · ${count(missing, "hit")} not on the map` : "";
  }

  /** Point at a passage by its key; null for none. */
  pointAt(chunk) {
    this.scatter?.pointAt(this.places.get(chunk) ?? -1);
  }

  async drawn(collection, signal) {
    for (;;) {
      const found = await ask(`collections/${collection}/map`, undefined, signal).catch(aborted);
      if (found === null || found.x) return found;
      this.showDrawing(found.share);
      await new Promise((resolve) => setTimeout(resolve, ASKED_EVERY));
    }
  }

  showDrawing(share) {
    const bar = element("progress", { value: share, max: 1, "aria-label": "Drawing the map" });
    this.say(element("p", {}, "Drawing the map. It is kept until the collection changes."), bar);
  }

  say(...children) {
    this.parent.replaceChildren(element("div", { className: "drawing" }, ...children));
  }

  showPoints(found) {
    this.ids = found.ids;
    this.places = new Map(found.chunks.map((chunk, place) => [chunk, place]));
    this.scatter = new Scatter(this.parent, found, {
      label: (point) => found.labels[point],
      choose: (point) => this.choose(found.ids[point]),
      name: `Map of ${count(found.x.length, this.noun)}; arrow keys move it, + and - zoom, 0 resets`,
    });
    this.missing = element("span");
    this.parent.append(element("p", { className: "note" }, extent(found, this.noun), this.missing));
    this.light(this.hits, this.like);
  }
}

function extent({ x, total }, noun) {
  const shown = count(x.length, noun);
  return x.length < total ? `${shown}, drawn from ${total.toLocaleString("en")}` : shown;
}

function aborted(error) {
  if (error.name === "AbortError") return null;
  throw error;
}
