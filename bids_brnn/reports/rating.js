// Ratings of participants by keyboard, kept in this browser and saved as a table in BIDS style.
(() => {
  "use strict";
  const table = document.getElementById("ratings");
  if (!table || !table.tBodies[0].rows.length) return;
  const element = (id) => document.getElementById(id), all = () => Array.from(table.tBodies[0].rows);
  const WORDS = { g: "good", d: "doubtful", b: "bad" };
  const COLUMNS = ["participant_id", "session_id", "rating", "comment", "rater", "rated"];
  const shelf = `bids_brnn ratings ${location.pathname}`;
  const keyOf = (row) => `${row.dataset.participant} ${row.dataset.session}`;
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem(shelf)) || {}; } catch { /* this browser keeps nothing for files */ }

  for (const title of ["rating", "comment"]) {
    const head = document.createElement("th");
    head.scope = "col";
    head.textContent = title;
    table.tHead.rows[0].append(head);
  }
  const draw = (row) => {
    const one = kept[keyOf(row)] || {};
    row.querySelectorAll("button[data-rate]").forEach((button) => button.setAttribute("aria-pressed", button.textContent === one.rating));
    row.querySelector("input").value = one.comment || "";
    row.cells[row.cells.length - 2].dataset.sort = one.rating || "";
    row.cells[row.cells.length - 1].dataset.sort = one.comment || "";
  };
  function tell() {
    const rated = all().filter((row) => kept[keyOf(row)]?.rating).length;
    element("rated").textContent = `${rated} of ${all().length} rated`;
  }
  function set(row, change) {
    kept[keyOf(row)] = { ...kept[keyOf(row)], ...change, rated: new Date().toISOString().slice(0, 19) };
    try { localStorage.setItem(shelf, JSON.stringify(kept)); } catch { /* saved by the button only */ }
    draw(row);
    tell();
  }
  let current = 0;
  function move(index, focus = true) {
    const rows = all().filter((row) => !row.hidden);
    current = Math.max(0, Math.min(rows.length - 1, index));
    all().forEach((row) => { row.tabIndex = -1; row.classList.remove("here"); });
    if (!rows[current]) return;
    rows[current].tabIndex = 0;
    rows[current].classList.add("here");
    if (focus) rows[current].focus();
  }
  for (const row of all()) {
    const rating = row.insertCell(), comment = row.insertCell(), field = document.createElement("input");
    for (const word of Object.values(WORDS)) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.rate = word;
      button.textContent = word;
      button.tabIndex = -1;
      button.onclick = () => set(row, { rating: kept[keyOf(row)]?.rating === word ? "" : word });
      rating.append(button, " ");
    }
    field.setAttribute("aria-label", `Comment on ${keyOf(row).trim()}`);
    field.tabIndex = -1;
    field.onchange = () => set(row, { comment: field.value.replace(/\s+/g, " ").trim() });
    field.onkeydown = (event) => { event.stopPropagation(); if (event.key === "Enter" || event.key === "Escape") { field.blur(); row.focus(); } };
    comment.append(field);
    row.onfocus = () => move(all().filter((one) => !one.hidden).indexOf(row), false);
    draw(row);
  }
  table.tBodies[0].addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key, next = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[key];
    if (next) move(current + next);
    else if (WORDS[key]) { set(row, { rating: WORDS[key] }); move(current + 1); }
    else if (key === "n") {
      const open = all().filter((one) => !one.hidden).map((one, i) => (kept[keyOf(one)]?.rating ? -1 : i)).filter((i) => i >= 0);
      move(open.find((i) => i > current) ?? open[0] ?? current);
    }
    else if (key === "u") set(row, { rating: "" });
    else if (key === "c") row.querySelector("input").focus();
    else if (key === "Enter" && event.target === row) row.querySelector("a").click();
    else return;
    event.preventDefault();
  });
  table.addEventListener("click", () => move(current, false));

  // A table in BIDS style: tabs, n/a for what is missing.
  const cell = (text) => String(text || "n/a").replace(/\s+/g, " ");
  window.ratingsTable = () => {
    const rater = element("rater").value.trim();
    const lines = all().map((row) => {
      const one = kept[keyOf(row)] || {};
      return [row.dataset.participant, row.dataset.session, one.rating, one.comment, one.rating ? one.rater || rater : "", one.rated].map(cell).join("\t");
    });
    return `${COLUMNS.join("\t")}\n${lines.sort().join("\n")}\n`;
  };
  const ABOUT = {
    participant_id: { Description: "Participant, with sub-" },
    session_id: { Description: "Session, with ses-" },
    rating: { Description: "Quality of the maps as seen by the rater", Levels: { good: "to be used", doubtful: "to be looked at again", bad: "to be left out" } },
    comment: { Description: "What the rater wrote" },
    rater: { Description: "Who rated" },
    rated: { Description: "When, coordinated universal time (ISO 8601)" },
  };
  function save(text, name, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  element("save-tsv").onclick = () => save(window.ratingsTable(), "desc-rating_quality.tsv", "text/tab-separated-values");
  element("save-json").onclick = () => save(`${JSON.stringify(ABOUT, null, 2)}\n`, "desc-rating_quality.json", "application/json");
  element("load-tsv").onchange = async (event) => {
    const [head, ...lines] = (await event.target.files[0].text()).trim().split(/\r?\n/).map((line) => line.split("\t"));
    const place = Object.fromEntries(COLUMNS.map((name) => [name, head.indexOf(name)]));
    if (place.participant_id < 0 || place.rating < 0) { element("rated").textContent = "This is no table of ratings: participant_id or rating is missing."; return; }
    const read = (line, name) => { const text = line[place[name]]; return text === undefined || text === "n/a" ? "" : text; };
    for (const line of lines) {
      const row = all().find((one) => one.dataset.participant === read(line, "participant_id") && one.dataset.session === read(line, "session_id"));
      if (row) { kept[keyOf(row)] = Object.fromEntries(["rating", "comment", "rater", "rated"].map((name) => [name, read(line, name)])); draw(row); }
    }
    try { localStorage.setItem(shelf, JSON.stringify(kept)); } catch { /* as above */ }
    tell();
  };
  document.querySelector(".rating").hidden = false;
  move(0, false);
  tell();
})();
