// Points on a canvas: drawn, moved, zoomed, pointed at. A hundred thousand need no library.

const NEAR = 12; // pixels between the pointer and what it points at, at most
const MOST_ZOOM = 200;
const MARGIN = 28; // pixels around the map

/**
 * A map in an element.
 *
 * `points` is {x, y, topics}: coordinates from 0 on, the longer side 1, up is more; topics are
 * {x, y, name}. `label(i)` names a point; `choose(i)` is told of a click on it.
 */
export class Scatter {
  constructor(parent, points, { label, choose, name }) {
    Object.assign(this, { parent, points, label, choose, lit: new Set(), ringed: -1, hovered: -1 });
    this.view = { scale: 1, x: 0, y: 0 }; // zoom, and pixels that the map was moved by
    this.width = largest(points.x);
    this.height = largest(points.y);
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", name);
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    parent.replaceChildren(this.canvas, this.tip);
    this.listen();
  }

  /** Show some points before all others, and a ring around one; -1 for none. */
  light(lit, ringed = -1) {
    this.lit = new Set(lit);
    this.ringed = ringed;
    this.draw();
  }

  /** Point at a point, as with a pointer; -1 for none. */
  pointAt(point) {
    if (point === this.hovered) return;
    this.hovered = point;
    this.canvas.classList.toggle("pointing", point >= 0);
    this.tip.hidden = point < 0;
    if (point >= 0) this.placeTip(point);
    this.draw();
  }

  // -- where things are ---------------------------------------------------------------------------

  /** Pixels of one unit of the map. */
  get unit() {
    const { clientWidth, clientHeight } = this.canvas;
    const across = (clientWidth - 2 * MARGIN) / (this.width || 1);
    const down = (clientHeight - 2 * MARGIN) / (this.height || 1);
    return Math.max(1, Math.min(across, down)) * this.view.scale;
  }

  /** Where a place of the map is on the canvas. */
  pixel(x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    return [
      clientWidth / 2 + this.view.x + (x - this.width / 2) * this.unit,
      clientHeight / 2 + this.view.y - (y - this.height / 2) * this.unit,
    ];
  }

  pixelOf(point) {
    return this.pixel(this.points.x[point], this.points.y[point]);
  }

  /** The point nearest to a place on the canvas, -1 when none is near; lit ones come first. */
  nearest(left, top) {
    const { x, y } = this.points;
    const { unit } = this;
    const [across, down] = this.pixel(0, 0);
    const among = (points) => {
      let best = NEAR * NEAR;
      let found = -1;
      for (const point of points) {
        const away = (across + x[point] * unit - left) ** 2 + (down - y[point] * unit - top) ** 2;
        if (away < best) {
          best = away;
          found = point;
        }
      }
      return found;
    };
    const lit = among(this.lit);
    return lit >= 0 ? lit : among(this.points.x.keys());
  }

  // -- drawing ------------------------------------------------------------------------------------

  /** Draw at the next frame, once, however often it is asked for. */
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.drawNow();
    });
  }

  drawNow() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const context = canvas.getContext("2d");
    const style = getComputedStyle(this.parent);
    const colour = (name) => this.resolved(style.getPropertyValue(name));
    context.scale(ratio, ratio);
    this.drawAll(context, colour(this.lit.size ? "--map-faint" : "--map-point"));
    this.drawTopics(context, colour("--map-ink"), colour("--map-paper"));
    this.drawLit(context, colour("--map-lit"), colour("--map-paper"));
  }

  /** A colour as the canvas reads it: `light-dark(...)` by the scheme that is on. */
  resolved(colour) {
    this.tip.style.caretColor = colour;
    return getComputedStyle(this.tip).caretColor;
  }

  drawAll(context, colour) {
    const { x, y } = this.points;
    const size = Math.max(1.5, Math.min(6, (220 / Math.sqrt(x.length)) * this.view.scale ** 0.4));
    const [left, top] = this.pixel(0, 0);
    const { unit } = this;
    context.fillStyle = colour;
    context.globalAlpha = x.length > 2000 ? 0.6 : 0.85;
    context.beginPath();
    for (let point = 0; point < x.length; point++) {
      const [across, down] = [left + x[point] * unit, top - y[point] * unit];
      if (x.length > 5000) {
        context.fillRect(across - size / 2, down - size / 2, size, size);
      } else {
        context.moveTo(across + size / 2, down);
        context.arc(across, down, size / 2, 0, 7);
      }
    }
    context.fill();
    context.globalAlpha = 1;
  }

  /** The names of the parts, as far as they do not cover each other. */
  drawTopics(context, ink, paper) {
    const taken = [];
    Object.assign(context, { textAlign: "center", lineJoin: "round", lineWidth: 4 });
    context.font = "600 13px system-ui, sans-serif";
    for (const { x, y, name } of this.points.topics) {
      const [across, down] = this.pixel(x, y);
      const half = context.measureText(name).width / 2 + 6;
      const covers = (one) =>
        Math.abs(one.across - across) < one.half + half && Math.abs(one.down - down) < 22;
      if (taken.some(covers)) continue;
      taken.push({ across, down, half });
      context.strokeStyle = paper;
      context.fillStyle = ink;
      context.strokeText(name, across, down);
      context.fillText(name, across, down);
    }
  }

  drawLit(context, colour, paper) {
    const dot = (point, radius, fill) => {
      context.beginPath();
      context.arc(...this.pixelOf(point), radius, 0, 7);
      if (fill) context.fill();
      context.stroke();
    };
    Object.assign(context, { fillStyle: colour, strokeStyle: paper, lineWidth: 1.5 });
    for (const point of this.lit) dot(point, 5.5, true);
    context.strokeStyle = colour;
    context.lineWidth = 2.5;
    for (const point of new Set([this.ringed, this.hovered])) if (point >= 0) dot(point, 9, false);
  }

  placeTip(point) {
    const [x, y] = this.pixelOf(point);
    this.tip.textContent = this.label(point);
    const room = this.canvas.clientWidth - this.tip.offsetWidth - 4;
    this.tip.style.left = `${Math.max(4, Math.min(room, x - this.tip.offsetWidth / 2))}px`;
    const above = y - this.tip.offsetHeight - 14;
    this.tip.style.top = `${above > 4 ? above : y + 14}px`;
  }

  // -- what people do -----------------------------------------------------------------------------

  listen() {
    const { canvas } = this;
    const held = new Map(); // where each finger, or the mouse, is held down
    let moved = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, [event.offsetX, event.offsetY]);
      if (held.size === 1) moved = 0;
    });
    canvas.addEventListener("pointermove", ({ pointerId, offsetX, offsetY }) => {
      const before = held.get(pointerId);
      if (!before) return this.pointAt(this.nearest(offsetX, offsetY));
      const other = [...held].find(([id]) => id !== pointerId)?.[1];
      const after = [offsetX, offsetY];
      moved += distance(before, after);
      if (other) this.zoom(distance(after, other) / distance(before, other), ...other);
      else this.move(offsetX - before[0], offsetY - before[1]);
      held.set(pointerId, after);
    });
    canvas.addEventListener("pointerup", ({ pointerId, offsetX, offsetY }) => {
      held.delete(pointerId);
      const point = moved < 4 ? this.nearest(offsetX, offsetY) : -1;
      if (point >= 0) this.choose(point);
    });
    canvas.addEventListener("pointercancel", ({ pointerId }) => held.delete(pointerId));
    canvas.addEventListener("pointerleave", () => this.pointAt(-1));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const { clientWidth, clientHeight } = this.canvas;
    const step = 60;
    const does = {
      ArrowLeft: () => this.move(step, 0),
      ArrowRight: () => this.move(-step, 0),
      ArrowUp: () => this.move(0, step),
      ArrowDown: () => this.move(0, -step),
      "+": () => this.zoom(1.4, clientWidth / 2, clientHeight / 2),
      "=": () => this.zoom(1.4, clientWidth / 2, clientHeight / 2),
      "-": () => this.zoom(1 / 1.4, clientWidth / 2, clientHeight / 2),
      0: () => this.reset(),
    }[event.key];
    if (!does || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    does();
  }

  move(right, down) {
    this.view.x += right;
    this.view.y += down;
    this.pointAt(-1);
    this.draw();
  }

  /** Zoom so that what is at a place of the canvas stays there. */
  zoom(factor, left, top) {
    const scale = Math.max(0.5, Math.min(MOST_ZOOM, this.view.scale * factor));
    const grown = scale / this.view.scale;
    const [across, down] = [left - this.canvas.clientWidth / 2, top - this.canvas.clientHeight / 2];
    this.view.x = across - (across - this.view.x) * grown;
    this.view.y = down - (down - this.view.y) * grown;
    this.view.scale = scale;
    this.pointAt(-1);
    this.draw();
  }

  reset() {
    this.view = { scale: 1, x: 0, y: 0 };
    this.draw();
  }
}

const distance = ([x, y], [left, top]) => Math.hypot(x - left, y - top);

/** `Math.max` takes its numbers as arguments, of which there cannot be so many. */
const largest = (numbers) => numbers.reduce((most, one) => Math.max(most, one), 0);
