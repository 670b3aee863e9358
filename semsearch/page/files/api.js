// Requests to the server that this page came from, with its token if it has any.

import { byId } from "./dom.js";

const KEPT = "semsearch-token";

/** An answer that is an error; its message is for people. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * The JSON that a path answers with; a body makes it a POST, of JSON or of a form. Asks for a token
 * when one is needed.
 */
export async function ask(path, body, signal) {
  return read(await allowed(path, body, signal));
}

/** The picture that a path answers with, as an address that an image can have. */
export async function askForPicture(path) {
  const answer = await allowed(path);
  return answer.ok ? URL.createObjectURL(await answer.blob()) : read(answer);
}

async function allowed(path, body, signal) {
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    const answer = await send(path, body, signal, token);
    if (answer.status !== 401) return answer;
    await askForToken(token !== null);
  }
}

/** Whether a token is kept. */
export const hasToken = () => sessionStorage.getItem(KEPT) !== null;

/** Keep no token any more. */
export const forgetToken = () => sessionStorage.removeItem(KEPT);

async function send(path, body, signal, token) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  if (body === undefined) return request(path, { headers, signal });
  if (body instanceof FormData) return request(path, { method: "POST", headers, signal, body });
  headers["Content-Type"] = "application/json";
  return request(path, { method: "POST", headers, signal, body: JSON.stringify(body) });
}

async function request(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer; is it still running?");
  }
}

async function read(answer) {
  const found = await answer.json().catch(() => null);
  if (answer.ok && found !== null) return found;
  throw new Problem(answer.status, found?.error?.message ?? `The server answered ${answer.status}`);
}

let asking = null; // several requests may need a token at once; one dialog serves them all

function askForToken(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("token-dialog");
    const field = byId("token");
    byId("token-problem").textContent = refused ? "The server does not know this token." : "";
    field.value = "";
    dialog.oncancel = (event) => event.preventDefault(); // without a token there is nothing to see
    dialog.onclose = () => {
      sessionStorage.setItem(KEPT, headerSafe(field.value));
      asking = null;
      resolve();
    };
    dialog.showModal();
  });
  return asking;
}

/** Tokens are printable ASCII; what is not cannot be sent, nor be one. */
const headerSafe = (text) => text.trim().replace(/[^\x21-\x7e]/g, "?");
