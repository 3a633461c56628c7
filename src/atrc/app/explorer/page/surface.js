// An image on which a pixel is chosen: by pointer, dragging too, and with the keyboard if it can be focused.

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Surface {
  // choose(row, column) is told the pixel, in pixels of the image
  constructor(element, cross, choose) {
    this.element = element;
    this.cross = cross;
    this.choose = choose;
    this.size = [1, 1];
    this.place = [0, 0];
    element.addEventListener("pointerdown", (event) => this.#press(event));
    element.addEventListener("pointermove", (event) => event.buttons & 1 && this.#point(event));
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  resize(size) {
    this.size = size;
    this.element.style.setProperty("--ratio", size[1] / size[0]);
  }

  mark(row, column) {
    this.place = [row, column];
    this.cross.style.insetBlockStart = `${(100 * (row + 0.5)) / this.size[0]}%`;
    this.cross.style.insetInlineStart = `${(100 * (column + 0.5)) / this.size[1]}%`;
  }

  #press(event) {
    if (event.button !== 0) return;
    this.element.setPointerCapture(event.pointerId);
    this.#point(event);
  }

  #point(event) {
    const box = this.element.getBoundingClientRect();
    this.#go((event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
  }

  #go(y, x) {
    const [height, width] = this.size;
    const inside = (share, most) => Math.min(Math.max(Math.floor(share * most), 0), most - 1);
    this.choose(inside(y, height), inside(x, width));
  }

  #key(event) {
    const [row, column] = this.place;
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(...this.size) / 48));
    const [down, right] = ARROWS[event.key] ?? [0, 0];
    if (!(event.key in ARROWS || event.key === "Enter" || event.key === " ")) return;
    event.preventDefault();
    this.#go((row + down * step + 0.5) / this.size[0], (column + right * step + 0.5) / this.size[1]);
  }
}
