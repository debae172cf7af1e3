// The map's cells name themselves in their titles; this shows the one under the pointer, or under the arrow keys, in the line below.
for (const map of document.querySelectorAll(".map")) {
  const readout = map.querySelector(".readout");
  const lines = [...map.querySelectorAll(".line[data-name]")].map((line) => [...line.querySelectorAll("i")]);
  let at = null;
  const show = (cell) => {
    if (at) at.classList.remove("at");
    at = cell;
    cell.classList.add("at");
    const line = cell.closest(".line");
    const marks = [...line.querySelectorAll("b")].map((mark) => [Number(mark.style.gridColumnStart), mark.title]);
    const here = marks.filter(([column]) => column >= Number(cell.style.gridColumnStart) && column <= Number(cell.dataset.last));
    const told = here.slice(0, 3).map(([, title]) => title);
    if (here.length > told.length) told.push("and " + (here.length - told.length) + " more marks");
    readout.textContent = [line.dataset.name, cell.title, ...told].join(" · ");
  };
  map.tabIndex = 0;
  readout.textContent = "Point at the map, tap it, or walk through it with the arrow keys: what a cell holds is told here.";
  const over = (event) => { if (event.target.tagName === "I") show(event.target); };
  map.addEventListener("pointerover", over);
  map.addEventListener("click", over);
  map.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !lines.length) return;
    event.preventDefault();
    if (!at) { show(lines[0][0]); return; }
    let row = lines.findIndex((line) => line.includes(at));
    let index = lines[row].indexOf(at);
    if (step[0]) {
      const column = Number(at.style.gridColumnStart);
      row = Math.min(lines.length - 1, Math.max(0, row + step[0]));
      index = lines[row].findIndex((cell) => Number(cell.dataset.last) >= column);
      if (index < 0) index = lines[row].length - 1;
    } else index = Math.min(lines[row].length - 1, Math.max(0, index + step[1]));
    show(lines[row][index]);
    at.scrollIntoView({ block: "nearest" });
  });
}
// A link to a gate opens it.
for (const link of document.querySelectorAll('a[href^="#gate-"]')) {
  link.addEventListener("click", () => { const part = document.getElementById(link.hash.slice(1)); if (part) part.open = true; });
}
