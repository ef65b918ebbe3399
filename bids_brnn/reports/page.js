// What a page does where scripts run: flicker, tables that sort and filter, regions of scatter plots, dark style.
(() => {
  "use strict";
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  document.documentElement.classList.add("scripts");

  // Two images in turns, in the place of the first.
  for (const button of all("button[data-flicker]")) {
    const [first, second] = all(`#${CSS.escape(button.dataset.flicker)} img[data-turn]`);
    if (!first || !second) continue;
    const shown = first.closest("figure").querySelector("[data-name]");
    const own = { src: first.src, alt: first.alt, name: shown.textContent };
    const other = { src: second.src, alt: second.alt, name: second.closest("figure").querySelector("[data-name]").textContent };
    let timer = 0, turn = false;
    const set = (which) => { first.src = which.src; first.alt = which.alt; shown.textContent = which.name; };
    button.hidden = false;
    button.onclick = () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      clearInterval(timer);
      if (on) timer = setInterval(() => { turn = !turn; set(turn ? other : own); }, 700);
      else { turn = false; set(own); }
    };
  }

  // Tables: a click on a heading sorts, a field above filters.
  const worth = (cell) => cell.dataset.sort ?? cell.textContent.trim(); // of buttons and fields: what they hold
  const number = (text) => { const found = parseFloat(text.replace("\u2212", "-").replace("%", "")); return Number.isNaN(found) ? null : found; };
  function compare(a, b) {
    const x = number(a), y = number(b);
    if (a === b) return 0;
    if (a === "" || a === "n/a") return 1;
    if (b === "" || b === "n/a") return -1;
    return x !== null && y !== null ? x - y : a.localeCompare(b, undefined, { numeric: true });
  }
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table), body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.append(button);
      button.onclick = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = all("tr", body), cell = (row) => worth(row.cells[column]);
        // Cells without a value stay at the end, whichever way is sorted.
        const empty = (row) => ["", "n/a", "-"].includes(cell(row));
        rows.sort((a, b) => empty(a) - empty(b) || (down ? -1 : 1) * compare(cell(a), cell(b)));
        body.append(...rows);
      };
    });
    const holder = table.closest(".scroll");
    if (body.rows.length < 6 || !holder) continue;
    const label = document.createElement("label"), field = document.createElement("input"), count = document.createElement("span");
    label.className = "filter";
    field.type = "search";
    count.className = "small";
    count.setAttribute("role", "status");
    label.append("Filter ", field, " ", count);
    holder.before(label);
    field.oninput = () => {
      const wanted = field.value.toLowerCase().split(/\s+/).filter((word) => word);
      let left = 0;
      for (const row of body.rows) {
        const text = Array.from(row.cells, worth).join(" ").toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
        left += !row.hidden;
      }
      count.textContent = wanted.length ? `${left} of ${body.rows.length} rows` : "";
    };
  }

  // The voxels of one region upon a scatter plot and a Bland-Altman plot.
  async function mark(over, name) {
    over.querySelector("canvas")?.remove();
    if (!name || !window.regionValues) return;
    const about = JSON.parse(over.dataset.hover), canvas = document.createElement("canvas");
    const points = await window.regionValues(about.series, about.name, about.of, about.codes[name]);
    if (over.dataset.region !== name) return; // left in the meantime
    [canvas.width, canvas.height] = [over.clientWidth, over.clientHeight];
    const pen = canvas.getContext("2d");
    pen.fillStyle = "rgba(33, 102, 172, 0.8)";
    about.axes.forEach((axis, i) => {
      const [left, top, width, height] = axis.box.map((share, k) => share * (k % 2 ? canvas.height : canvas.width));
      const [x0, x1, y0, y1] = axis.ends;
      for (const [a, b] of points) {
        const [x, y] = i ? [(a + b) / 2, a - b] : [b, a], u = (x - x0) / (x1 - x0), v = (y - y0) / (y1 - y0);
        if (u >= 0 && u <= 1 && v >= 0 && v <= 1) pen.fillRect(left + u * width - 1, top + (1 - v) * height - 1, 2.5, 2.5);
      }
    });
    over.querySelector("canvas")?.remove();
    over.append(canvas);
  }
  for (const list of all(".chips")) {
    const over = list.closest(".row").querySelector(".over");
    const show = (event) => { const chip = event.target.closest("[data-region]"); over.dataset.region = chip ? chip.dataset.region : ""; mark(over, over.dataset.region); };
    for (const kind of ["mouseover", "focusin"]) list.addEventListener(kind, show);
    for (const kind of ["mouseleave", "focusout"]) list.addEventListener(kind, () => { over.dataset.region = ""; mark(over, ""); });
  }

  // One participant in all drawings: that of the point under the mouse, or of the row in use.
  const points = new Map();
  for (const one of all("svg a[href]")) {
    const page = one.getAttribute("href");
    if (!points.has(page)) points.set(page, []);
    points.get(page).push(one);
  }
  let marked = [];
  const same = (event) => {
    const link = event.target.closest?.("svg a[href]") || event.target.closest?.("#ratings tbody tr")?.querySelector("a");
    marked.forEach((one) => one.classList.remove("same"));
    marked = (link && points.get(link.getAttribute("href"))) || [];
    marked.forEach((one) => one.classList.add("same"));
  };
  if (points.size) for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, same);

  for (const button of all("button[data-copy]")) {
    const source = document.getElementById(button.dataset.copy), words = button.textContent;
    button.hidden = false;
    button.onclick = async () => {
      try { await navigator.clipboard.writeText(source.innerText); button.textContent = "Copied"; }
      catch { getSelection().selectAllChildren(source); button.textContent = "Selected: press Ctrl+C"; } // no leave to write
      setTimeout(() => { button.textContent = words; }, 3000);
    };
  }

  // Paper shows tables that are folded on the screen; licences and options stay folded.
  const folded = [];
  addEventListener("beforeprint", () => all("details.tables:not([open])").forEach((one) => { one.open = true; folded.push(one); }));
  addEventListener("afterprint", () => folded.splice(0).forEach((one) => { one.open = false; }));

  // The colours of the page: those of the system, or the others.
  const dark = document.getElementById("dark");
  if (dark) {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const show = (on) => { document.documentElement.dataset.theme = on ? "dark" : "light"; dark.setAttribute("aria-pressed", on); };
    show(system.matches);
    dark.hidden = false;
    dark.onclick = () => show(dark.getAttribute("aria-pressed") !== "true");
    system.onchange = (event) => show(event.matches);
  }
})();
