// What is shown, kept in the address after the #, which browsers send to nobody.

const NUMBERS = { row: -1, column: -1, fade: 65, heat: 75 };
const WORDS = { image: "", task: "", source: "", over: "photo", show: "all" };

export const state = {};

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(WORDS)) state[key] = given.get(key) ?? value;
  for (const [key, value] of Object.entries(NUMBERS)) {
    const number = Number.parseInt(given.get(key), 10);
    state[key] = Number.isNaN(number) ? value : number;
  }
}

export function write() {
  const usual = { ...WORDS, ...NUMBERS };
  const kept = Object.entries(state).filter(([key, value]) => value !== usual[key]);
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
}
