// The page: what is asked stands in its address, so that a search can be kept, shared and gone
// back to; every change of it leads through `show`.

import { ask, askForPicture, forgetToken, hasToken } from "./api.js";
import { byId, count, element } from "./dom.js";
import { narrowed } from "./filter.js";
import { MapView } from "./map.js";
import { MorphView } from "./morph.js";
import { hit, subject } from "./results.js";

const DEFAULTS = {
  c: "", q: "", like: "", mode: "hybrid", where: "", k: "10", view: "list", from: "", to: "",
};

let collections = [];
let running = null; // what cancels the search under way
let picture = null; // a file to search with; no address can hold it

// -- what is asked ------------------------------------------------------------------------------

function asked() {
  const found = new URLSearchParams(location.search);
  const state = Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, value]) => [name, found.get(name) ?? value]),
  );
  const known = collections.some(({ name }) => name === state.c);
  return known ? state : { ...state, c: collections[0]?.name ?? "" };
}

function address(state) {
  const told = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  return `?${new URLSearchParams(told)}`;
}

/** Ask for something else than now. */
function go(change) {
  keep(change);
  show();
}

/** Ask for another morph than now; what was found stays as it is. */
function goMorph(change) {
  keep(change);
  showMorph(asked(), { focus: true });
}

function keep(change) {
  const target = address({ ...asked(), ...change });
  if (target !== location.search) history.pushState(null, "", target);
}

// -- what is shown ------------------------------------------------------------------------------

function show() {
  const state = asked();
  const collection = collections.find(({ name }) => name === state.c);
  if (!collection) return showNothingThere();
  showForm(state, collection);
  showMap(state, nounOf(collection));
  if (collection.modality === "image") showMorph(state);
  else morph.leave();
  search(state, collection);
}

const showMorph = ({ c, from, to }, options) => morph.show(c, from, to, options);

const nounOf = ({ modality }) => (modality === "image" ? "picture" : "passage");

function showMap({ c, view }, noun) {
  const wanted = view === "map";
  document.body.classList.toggle("mapping", wanted);
  byId("map").hidden = !wanted;
  if (wanted) map.show(c, noun);
  else map.leave();
}

function showForm(state, collection) {
  byId("collection").value = state.c;
  byId("query").value = state.q;
  byId("where").value = state.where;
  byId("k").value = state.k;
  const ofPictures = collection.modality === "image";
  document.body.classList.toggle("pictures", ofPictures);
  byId("query").disabled = ofPictures;
  if (!ofPictures) picture = null;
  const only = collection.encoder ? state.mode : "keyword";
  for (const option of document.querySelectorAll("#mode input")) {
    option.disabled = !collection.encoder && option.value !== "keyword";
    option.checked = option.value === only;
  }
  byId("size").textContent = size(collection);
  byId("forget").hidden = !hasToken();
  document.title = state.q ? `${state.q} · semsearch` : "semsearch";
  for (const view of ["list", "map"]) {
    const link = byId(`${view}-view`);
    link.href = address({ ...state, view });
    if (state.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function size(collection) {
  const { documents, chunks, encoder } = collection;
  const made = encoder ? encoder.split("/").at(-1) : `vectors are given`;
  return `${count(documents, "document")} · ${count(chunks, nounOf(collection))} · ${made}`;
}

function showNothingThere() {
  byId("status").replaceChildren(
    "This server has no collections yet. Put documents into its folder: ",
    element("code", {}, "semsearch index notes/ --index FOLDER/notes"),
  );
}

// -- searching ----------------------------------------------------------------------------------

async function search(state, collection) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const nothing = collection.modality === "image" ? !picture && !state.like : !state.q.trim() && !state.like;
  tell({ status: nothing ? hint(state, collection) : "" });
  if (nothing) return showHits([], null, []);
  byId("results").setAttribute("aria-busy", "true");
  try {
    const began = performance.now();
    const [found, given] = await Promise.all([
      answers(state, collection, signal),
      state.like ? likened(state, signal) : null,
    ]);
    showHits(found.hits, given, found.highlights ?? []);
    tell({ status: summary(found.hits.length, performance.now() - began, state) });
  } catch (error) {
    if (error.name === "AbortError") return;
    showHits([], null, []);
    tell(/^where\b/.test(error.message) ? { where: error.message } : { problem: error.message });
  } finally {
    if (!signal.aborted) byId("results").removeAttribute("aria-busy");
  }
}

function answers(state, collection, signal) {
  const path = `collections/${state.c}/search`;
  if (!picture || state.like) return ask(path, body(state, collection), signal);
  const form = new FormData();
  form.append("file", picture);
  form.append("k", state.k);
  if (state.where.trim()) form.append("where", state.where);
  return ask(`${path}/picture`, form, signal);
}

function body(state, collection) {
  const mode = collection.encoder ? state.mode : "keyword";
  const query = state.like
    ? { like: state.like }
    : { query: state.q, mode, highlight: true };
  return { ...query, k: Number(state.k) || 10, ...(state.where.trim() && { where: state.where }) };
}

async function likened(state, signal) {
  const found = await ask(`collections/${state.c}/get`, { ids: [state.like] }, signal);
  return found.documents[0] ?? null;
}

function hint({ view }, { documents, modality }) {
  if (!documents) return "This collection is empty: nothing was put into it yet.";
  if (modality === "image") return "Choose a picture, or drop one here, to see what looks like it.";
  if (view === "map") return "Search, or click a point to see what is like it.";
  return "Ask in your own words: a passage need not share one with them. “/” leads back to the box.";
}

function summary(number, milliseconds, state) {
  if (!number) return state.where ? "Nothing matches this filter and query." : "Nothing matches.";
  const what = state.like ? count(number, "neighbour") : count(number, "hit");
  const time = milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
  return `${what} in ${time}`;
}

function tell({ status = "", problem = "", where = "" }) {
  byId("status").textContent = status;
  byId("problem").textContent = problem;
  byId("where-problem").textContent = where.replace(/^where: /, "");
  byId("where").setAttribute("aria-invalid", where ? "true" : "false");
}

function showHits(hits, given, highlights) {
  const best = Math.max(...hits.map(({ score }) => score), 1e-9);
  const collection = asked().c;
  const ofPictures = document.body.classList.contains("pictures");
  const shown = (id) => askForPicture(`collections/${collection}/picture?${new URLSearchParams({ id })}`);
  act.picture = ofPictures ? shown : null;
  map.light(hits, given?.id);
  byId("like").replaceChildren(...(given ? [subject(given, act)] : []));
  byId("hits").replaceChildren(
    ...hits.map((found, number) => hit(found, number + 1, best, highlights[number], act)),
  );
}

const act = {
  like: (id) => go({ like: id, q: "" }),
  filter: (condition) => go({ where: narrowed(asked().where, condition) }),
  clear: () => go({ like: "" }),
  from: (id) => goMorph({ from: id }),
  to: (id) => goMorph({ to: id }),
};
const map = new MapView(byId("map"), act.like);
const morph = new MorphView(byId("morph"), () => {
  goMorph({ from: "", to: "" });
  byId("results").focus();
});

function askWith(file) {
  if (!file) return;
  picture = file;
  byId("picture-name").textContent = file.name;
  go({ like: "", q: "" });
}

// -- what people do -----------------------------------------------------------------------------

const query = byId("query");

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const like = query.value.trim() ? "" : asked().like;
  go({ q: query.value, like, where: byId("where").value });
});
byId("picture").addEventListener("change", ({ target }) => askWith(target.files[0]));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file && document.body.classList.contains("pictures")) askWith(file);
});
byId("collection").addEventListener("change", ({ target }) => go({ c: target.value, like: "", from: "", to: "" }));
byId("mode").addEventListener("change", ({ target }) => go({ mode: target.value }));
byId("k").addEventListener("change", ({ target }) => go({ k: target.value }));
byId("forget").addEventListener("click", () => {
  forgetToken();
  location.reload();
});
for (const type of ["mouseover", "focusin", "mouseleave", "focusout"]) {
  const over = type === "mouseover" || type === "focusin";
  byId("hits").addEventListener(type, ({ target }) => {
    const item = over ? target.closest("[data-chunk]") : null;
    map.pointAt(item && Number(item.dataset.chunk));
  });
}
for (const view of ["list", "map"]) {
  byId(`${view}-view`).addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go({ view });
  });
}
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest("input, select, textarea, dialog");
  if (event.key !== "/" || writing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const box = query.disabled ? byId("picture") : query;
  box.focus();
  box.select();
});
window.addEventListener("popstate", show);

// -- the beginning ------------------------------------------------------------------------------

async function begin() {
  try {
    ({ collections } = await ask("collections"));
  } catch (error) {
    return tell({ problem: error.message });
  }
  byId("collection").replaceChildren(
    ...collections.map(({ name }) => element("option", { value: name }, name)),
  );
  show();
}

begin();
