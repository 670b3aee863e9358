// Conditions in the language of filters: `year = 2024 and lang = "en"`.

const PLAIN = /^[A-Za-z_][A-Za-z0-9_-]*$/;
const TAKEN = new Set(
  "and or not in contains exists true false null id title source text metadata".split(" "),
);

/** The condition that a metadata field has a value; null of values that cannot be compared. */
export function condition(field, value) {
  if (typeof value === "object" && value !== null) return null;
  const plain = PLAIN.test(field) && !TAKEN.has(field.toLowerCase());
  const name = plain ? field : `metadata.[${field.replaceAll("]", "]]")}]`;
  return `${name} = ${JSON.stringify(value)}`;
}

/** A filter and one more condition. */
export function narrowed(where, asked) {
  if (!where.trim()) return asked;
  if (where.includes(asked)) return where;
  return /\bor\b/i.test(where) ? `(${where}) and ${asked}` : `${where} and ${asked}`;
}
