
// A map in a file of its own: its passages stand in the file.

const data = JSON.parse(document.getElementById("data").textContent);
const [words, status, item] = ["words", "status", "item"].map((id) => document.getElementById(id));
const texts = data.passages.map((one) => `${one.title} ${one.text}`.toLowerCase());

const scatter = new Scatter(document.getElementById("map"), data, {
  label: (point) => data.passages[point].title || data.passages[point].id,
  choose: (point) => {
    item.replaceChildren(...told(data.passages[point]));
    scatter.light(scatter.lit, point);
  },
  name: `Map of ${data.passages.length} ${data.noun}s`,
});

words.addEventListener("input", find);
find();

function find() {
  const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = asked.length
    ? texts.flatMap((text, point) => (asked.every((word) => text.includes(word)) ? [point] : []))
    : [];
  const drawn = data.passages.length.toLocaleString("en");
  const sampled = data.total > data.passages.length;
  status.textContent = asked.length
    ? `${found.length.toLocaleString("en")} of ${drawn} ${data.noun}s have them`
    : `${drawn} ${data.noun}s${sampled ? `, drawn from ${data.total.toLocaleString("en")}` : ""}`;
  scatter.light(found, scatter.ringed);
}

function told({ id, title, text, metadata }) {
  const facts = made("dl");
  for (const [field, value] of Object.entries({ id, ...metadata })) {
    const shown = typeof value === "object" ? JSON.stringify(value) : String(value);
    facts.append(made("dt", field), made("dd", shown));
  }
  return [made("h2", title || id), made("p", text === id ? "" : text), facts];
}

function made(tag, text = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
