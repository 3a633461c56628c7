// Where images come from: a file that is opened, dropped or pasted, or an example.

import * as api from "./api.js";
import { find, make } from "./dom.js";

export class Photos {
  // open(id) is told the image that was chosen; say(text, isError) shows a message
  constructor({ examples, upload }, open, say) {
    Object.assign(this, { examples, most: upload, open, say });
    this.turn = 0; // of what is chosen: a file that arrives after the visitor has chosen again is not opened
    this.files = new Map(); // by name: the server may let go of one that is looked at again
    find("#file").addEventListener("change", (event) => this.#take(event.target.files[0]));
    document.addEventListener("paste", (event) => this.#take(event.clipboardData.files[0]));
    document.addEventListener("dragover", (event) => this.#over(event, true));
    document.addEventListener("dragleave", (event) => event.relatedTarget || this.#over(event, false));
    document.addEventListener("drop", (event) => {
      this.#over(event, false);
      this.#take(event.dataTransfer.files[0]);
    });
  }

  // Examples are rendered when they are first shown, so the first image goes before them.
  showExamples() {
    find("#examples").replaceChildren(
      ...this.examples.map(({ id, title }) => {
        const picture = make("img", { src: api.photoUrl(id), alt: "", loading: "lazy" });
        const button = make("button", { type: "button", title, "aria-label": title }, picture);
        button.dataset.id = id;
        button.addEventListener("click", () => {
          this.turn++;
          this.open(id);
        });
        return make("li", {}, button);
      }),
    );
  }

  mark(id) {
    for (const button of find("#examples").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.id === id));
    }
  }

  // Bring an image again that the server no longer holds; nothing if it is not known here either.
  async again(id) {
    const file = this.files.get(id);
    return file ? this.#send(file) : null;
  }

  #over(event, is) {
    event.preventDefault();
    find("#drop").classList.toggle("over", is);
  }

  async #take(file) {
    if (!file) return;
    find("#file").value = ""; // so that the same file can be chosen again
    const turn = ++this.turn;
    try {
      const id = await this.#send(file);
      if (turn === this.turn) this.open(id);
    } catch (error) {
      if (turn === this.turn) this.say(error.message.replace("this file", file.name || "the image"), true);
    }
  }

  async #send(file) {
    if (file.size > this.most) throw new Error(`${file.name} is larger than ${Math.floor(this.most / 2 ** 20)} MB; save it smaller`);
    this.say("Sending the image …");
    const { id } = await api.upload(file);
    this.files.set(id, file);
    return id;
  }
}
