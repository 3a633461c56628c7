// What the page asks the server. Every failure is an Error whose message people can read.

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Failure("the server does not answer; is it still running?", 0);
  }
  const content = answer.headers.get("content-type")?.startsWith("application/json") ? await answer.json() : null;
  if (!answer.ok || !content) throw new Failure(content?.error ?? `the server answers ${answer.status}`, answer.status);
  return content;
}

const query = (values) => new URLSearchParams(values).toString();
const image = (id, what = "", values = {}) => `/api/images/${encodeURIComponent(id)}${what}?${query(values)}`;

let version = ""; // of this server: images of an earlier one may be in the browser's cache

export async function models() {
  const found = await request("/api/models");
  version = found.version;
  return found;
}

export const photo = (id) => request(image(id));
export const upload = (file) =>
  request("/api/images", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
export const look = (id, model) => request(image(id, "/look", { model }));
export const pixel = (id, model, row, column, target) => request(image(id, "/pixel", { model, row, column, target }));
export const region = (id, model, task, region) => request(image(id, "/region", { model, task, region }));

export const photoUrl = (id) => image(id, "/photo", { version });
export const predictionUrl = (id, model, task) => image(id, "/prediction", { model, task, version });
export const ballUrl = (model, task) => `/api/legend?${query({ model, task, version })}`;
