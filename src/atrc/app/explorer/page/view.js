// One network: its predictions of the image, and what the chosen pixel attends to.

import * as api from "./api.js";
import { find, make } from "./dom.js";
import { Genotype } from "./genotype.js";
import { drawLegend } from "./legend.js";
import { Panel } from "./panels.js";
import { state } from "./state.js";
import { Surface } from "./surface.js";

export class View {
  // change(what) is told what the visitor chose; fail(error) what went wrong
  constructor(model, number, shared, change, fail) {
    Object.assign(this, { model, number, shared, change, fail, photo: null, look: null, asking: false });
    this.element = find("#view").content.cloneNode(true).firstElementChild;
    const part = (name) => find(`.${name}`, this.element);
    part("name").textContent = model.name;
    part("about").textContent = `${(model.parameters / 1e6).toFixed(1)} M parameters, sees ${model.side} px`;
    this.element.setAttribute("aria-label", `Network ${model.name}`);
    const choose = (row, column) => change({ row, column });
    this.stage = new Surface(part("stage"), find(".stage .cross", this.element), choose);
    this.parts = Object.fromEntries(
      ["photo", "painted", "reading", "tasks", "legend", "attention", "genotype", "chosen", "others", "pair"].map((name) => [name, part(name)]),
    );
    this.genotype = new Genotype(this.parts.genotype, shared.contexts, (task, source) => change({ task, source }));
    this.panels = new Map();
    this.#makeTasks();
  }

  get task() {
    return this.model.tasks.find((task) => task.name === state.task) ?? this.model.tasks[0];
  }

  get source() {
    const row = this.look?.contexts?.[this.task.name] ?? {};
    return state.source in row ? state.source : Object.keys(row).find((source) => row[source] !== "none") ?? Object.keys(row)[0];
  }

  async show(photo) {
    this.element.setAttribute("aria-busy", "true");
    try {
      const look = await api.look(photo.id, this.number);
      if (photo.id !== state.image) return; // another one was chosen meanwhile
      Object.assign(this, { photo, look });
      this.#showPhoto();
      await this.point();
    } finally {
      this.element.removeAttribute("aria-busy");
    }
  }

  // The task or how it is shown has changed, not the image.
  refresh() {
    if (!this.look) return;
    this.parts.painted.src = this.#painted(this.task.name);
    this.parts.painted.alt = `predicted ${this.task.name}`;
    this.parts.legend.replaceChildren(make("b", {}, this.task.title), drawLegend(this.number, this.task, this.look.present[this.task.name]));
    for (const input of this.parts.tasks.querySelectorAll("input")) input.checked = input.value === this.task.name;
    this.genotype.select(this.task.name, this.source);
    this.#showMaps();
  }

  // Ask about the chosen pixel: one question at a time, then the latest.
  async point() {
    this.stage.mark(state.row, state.column);
    this.stale = true;
    if (this.asking || !this.look) return;
    this.asking = true;
    try {
      while (this.stale) {
        this.stale = false;
        const { photo } = this;
        const target = this.look.contexts?.[this.task.name] ? this.task.name : "";
        const found = await api.pixel(photo.id, this.number, state.row, state.column, target);
        if (photo === this.photo) this.found = found;
        this.#showMaps();
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.asking = false;
    }
  }

  #makeTasks() {
    for (const task of this.model.tasks) {
      const input = make("input", { type: "radio", name: `task-${this.number}`, value: task.name });
      input.addEventListener("change", () => this.change({ task: task.name }));
      const thumb = make("img", { alt: "", draggable: false });
      const value = make("small", { className: "value" });
      this.parts.tasks.append(make("label", { className: "task", title: task.title }, input, thumb, make("b", {}, task.name), value));
    }
  }

  #showPhoto() {
    const { photo, parts } = this;
    parts.photo.src = api.photoUrl(photo.id);
    this.stage.resize(photo.size);
    parts.tasks.style.setProperty("--ratio", photo.size[1] / photo.size[0]);
    parts.tasks.querySelectorAll("img").forEach((thumb, i) => (thumb.src = this.#painted(this.model.tasks[i].name)));
    this.found = null;
    for (const panel of this.panels.values()) panel.element.remove(); // those of the image before
    this.panels.clear();
    if (!this.look.contexts) {
      parts.attention.replaceChildren(make("p", { className: "alone" }, this.model.message));
    } else {
      this.genotype.show(this.look.contexts);
      const sources = Object.keys(Object.values(this.look.contexts)[0]);
      for (const source of sources) {
        const choose = (row, column) => this.change({ row, column });
        const select = () => this.change({ task: this.task.name, source });
        const locate = (task, region) => api.region(photo.id, this.number, task, region).catch(this.fail);
        const panel = new Panel(source, this.shared.contexts, { choose, select, locate });
        panel.resize(photo.size);
        this.panels.set(source, panel);
      }
    }
    this.refresh();
  }

  #showMaps() {
    const { found, parts, photo } = this;
    if (!found) return;
    const [row, column] = found.pixel;
    const says = this.model.tasks.map((task) => `${task.name} ${found.values[task.name]}`);
    parts.reading.replaceChildren(`Row ${row}, column ${column}`, make("span", { className: "hidden" }, `: ${says.join("; ")}`));
    this.stage.element.setAttribute("aria-label", parts.reading.textContent);
    parts.tasks.querySelectorAll(".value").forEach((value, i) => (value.textContent = found.values[this.model.tasks[i].name]));
    if (!this.look.contexts) return;
    find("h3", parts.attention).textContent = found.sources ? `What ${found.target} attends to from this pixel` : `${this.task.name} attends to no task`;
    parts.others.hidden = parts.chosen.hidden = !found.sources;
    for (const [source, panel] of found.sources ? this.panels : []) {
      const small = source !== this.source;
      const backdrop = state.over === "prediction" && this.#predicts(source) ? this.#painted(source) : api.photoUrl(photo.id);
      panel.show(found.sources[source], { grid: found.grid, heat: this.shared.heat, over: state.over, backdrop, row, column, small });
      const place = small ? parts.others : parts.chosen;
      if (panel.element.parentElement !== place) place.append(panel.element);
    }
    parts.others.append(...[...this.panels.values()].map((panel) => panel.element).filter((one) => one.parentElement === parts.others));
  }

  #predicts(source) {
    return this.model.tasks.some((task) => task.name === source);
  }

  #painted(task) {
    return api.predictionUrl(this.photo.id, this.number, task);
  }
}
