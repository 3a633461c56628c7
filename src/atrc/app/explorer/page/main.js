// The page: what is chosen goes into the state, and every network's view shows the state.

import * as api from "./api.js";
import { find, make } from "./dom.js";
import { readHeat } from "./panels.js";
import { Photos } from "./photos.js";
import { read, state, write } from "./state.js";
import { View } from "./view.js";

let views = [];
let photos;
let photo;

function say(text, isError = false) {
  const message = find("#message");
  message.textContent = text;
  message.classList.toggle("error", isError);
}

const shown = () => views.filter((view) => state.show === "all" || state.show === String(view.number));

async function open(id) {
  const isNew = id !== photo?.id;
  state.image = id;
  try {
    say("Looking at it …");
    photo = await api.photo(id);
    if (state.image !== id) return;
    const [height, width] = photo.size;
    const outside = state.row < 0 || state.row >= height || state.column < 0 || state.column >= width;
    if (outside || (isNew && views[0].photo)) Object.assign(state, { row: Math.floor(height / 2), column: Math.floor(width / 2) });
    photos.mark(id);
    write();
    await Promise.all(shown().map((view) => view.show(photo)));
    say(photo.note ? `It is ${photo.note}.` : "");
  } catch (error) {
    if (state.image === id) await fail(error);
  }
}

async function fail(error) {
  const id = state.image;
  try {
    const again = error.status === 404 ? await photos.again(id) : null;
    if (again) return open(again);
  } catch (second) {
    return say(second.message, true);
  }
  say(error.message, true);
}

function change(what) {
  const pixel = "row" in what || "task" in what;
  Object.assign(state, what);
  write();
  for (const view of shown()) {
    if (!("row" in what)) view.refresh();
    if (pixel) view.point();
  }
}

function arrange() {
  const element = find("#views");
  element.dataset.count = shown().length;
  for (const view of views) view.element.hidden = !shown().includes(view);
  for (const view of shown()) if (photo && view.photo !== photo) view.show(photo).catch(fail);
}

function control() {
  for (const key of ["fade", "heat"]) {
    const slider = find(`#${key}`);
    const show = () => {
      slider.value = state[key];
      slider.nextElementSibling.textContent = `${state[key]} %`;
      document.body.style.setProperty(`--${key}`, state[key] / 100);
    };
    slider.addEventListener("input", () => {
      state[key] = Number(slider.value);
      show();
      write();
    });
    show();
  }
  for (const name of ["over", "show"]) {
    for (const input of document.getElementsByName(name)) {
      input.checked = input.value === state[name];
      input.addEventListener("change", () => {
        change({ [name]: input.value });
        arrange();
      });
    }
  }
  find("#controls").addEventListener("submit", (event) => event.preventDefault());
}

function offer(models) {
  if (models.length < 2) return;
  const choices = [["all", "side by side"], ...models.map((model, i) => [String(i), model.name])];
  for (const [value, text] of choices) {
    find("#shown").append(make("label", {}, make("input", { type: "radio", name: "show", value }), make("span", {}, text)));
  }
  find("#shown").hidden = false;
}

async function start() {
  read();
  const found = await api.models();
  const shared = { contexts: found.contexts, heat: readHeat(found.heat) };
  views = found.models.map((model, i) => new View(model, i, shared, change, fail));
  find("#views").replaceChildren(...views.map((view) => view.element));
  photos = new Photos(found, open, say);
  offer(found.models);
  control();
  arrange();
  const first = state.image || found.examples[0]?.id;
  if (first) await open(first);
  photos.showExamples();
  photos.mark(state.image);
  addEventListener("hashchange", () => location.reload());
}

start().catch((error) => say(error.message, true));
