// Uploads from the browser: <form data-upload data-base data-parent data-done> of components/upload.html.
//
// base = data-base, e.g. /api/v1/repos/alice/x . All bodies are JSON; all calls carry X-CSRFToken and the session cookie.
//   POST {base}/uploads             {path, size, sha256}
//        -> {present: true}                                   the hub has these bytes already
//        -> {upload, parts: [{number, url, size, etag?}]}     asking again for the same bytes goes on with the same
//                                                             upload: a part with an etag has arrived and is skipped
//   PUT  part.url                   the part's bytes, nothing else; the answer's ETag header is kept
//   POST {base}/uploads/{id}/finish {etags: [...]}            in the order of the parts; the hub hashes and keeps the blob
//   POST {base}/commit              {message, parent, files: [{path, upload} | {path, sha256}]}
//        -> {commit, url?}          sha256 for bytes that were present; parent: sha of the commit built on, or null
// Errors: {error: sentence} of any 4xx is shown as it is. 409/412 on commit: someone else committed meanwhile.

const FILES_AT_ONCE = 2;
const PARTS_AT_ONCE = 3;
const TRIES = 5;
const SMALL = 8 * 1024 * 1024;

const size = (bytes) => {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 1000 || unit === "GB") return `${bytes >= 100 || unit === "B" ? Math.round(bytes) : bytes.toFixed(1)}\u00a0${unit}`;
    bytes /= 1000;
  }
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Refused extends Error {}

async function pool(items, width, work) {
  const queue = [...items];
  await Promise.all(Array.from({ length: Math.min(width, queue.length) }, async () => {
    while (queue.length) await work(queue.shift());
  }));
}

async function sha256(file, progress) {
  if (file.size <= SMALL && globalThis.crypto?.subtle) {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  const worker = new Worker(new URL("./hash_worker.js", import.meta.url), { type: "module" });
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => {
        if (data.sha256) resolve(data.sha256);
        else if (data.error) reject(new Error(data.error));
        else progress(data.done);
      };
      worker.onerror = () => reject(new Error("The file could not be hashed; reload the page and try again."));
      worker.postMessage(file);
    });
  } finally {
    worker.terminate();
  }
}

function put(url, blob, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch cannot report how much was sent
    request.open("PUT", url);
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onload = () => (request.status < 300
      ? resolve(request.getResponseHeader("ETag") ?? "")
      : reject(Object.assign(new Error(`The store answered ${request.status}.`), { status: request.status })));
    request.onerror = () => reject(new Error("The line broke."));
    request.send(blob);
  });
}

class Upload {
  constructor(form) {
    this.form = form;
    this.base = form.dataset.base;
    this.token = form.querySelector("[name=csrfmiddlewaretoken]")?.value ?? "";
    this.entries = new Map();
    this.running = false;
    this.panel = form.querySelector("[data-upload-panel]");
    this.error = form.querySelector("[data-upload-error]");
    this.button = form.querySelector("button.btn-primary");
    form.querySelector("#upload-files").removeAttribute("required");
    this.#listen();
  }

  #listen() {
    const drop = this.form.querySelector("[data-drop]");
    for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
    drop.addEventListener("drop", async (event) => {
      event.preventDefault();
      const roots = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      for (const root of roots) await this.#walk(root, "", roots.length === 1 && root.isDirectory);
    });
    for (const input of this.form.querySelectorAll("input[type=file]")) {
      input.addEventListener("change", () => {
        for (const file of input.files) this.add(file, file.webkitRelativePath.split("/").slice(1).join("/") || file.name);
        input.value = "";
      });
    }
    this.form.addEventListener("click", (event) => {
      const choose = event.target.closest("[data-choose]");
      if (choose) this.form.querySelector(choose.dataset.choose).click();
      const row = event.target.closest("[data-remove]")?.closest("tr");
      if (row && !this.running) { this.entries.delete(row.dataset.path); row.remove(); this.#count(); }
    });
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    addEventListener("beforeunload", (event) => { if (this.running) event.preventDefault(); });
  }

  // A dropped folder alone gives up its own name: its content becomes the repo.
  async #walk(entry, prefix, top = false) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      this.add(file, prefix + file.name);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const child of batch) await this.#walk(child, top ? "" : `${prefix}${entry.name}/`);
    }
  }

  add(file, path) {
    if (this.running || /(^|\/)(\.git|\.DS_Store|Thumbs\.db)(\/|$)/.test(path)) return;
    this.entries.get(path)?.row.remove();
    const row = this.form.querySelector("[data-upload-row]").content.firstElementChild.cloneNode(true);
    row.dataset.path = path;
    row.querySelector("[data-path]").textContent = path;
    row.querySelector("[data-size]").textContent = size(file.size);
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${path}`);
    this.panel.querySelector("tbody").append(row);
    this.entries.set(path, { file, path, row, result: null });
    this.#count();
  }

  #count() {
    this.panel.hidden = this.entries.size === 0;
    const total = [...this.entries.values()].reduce((sum, entry) => sum + entry.file.size, 0);
    this.panel.querySelector("[data-upload-summary]").textContent = `${this.entries.size} file${this.entries.size === 1 ? "" : "s"}, ${size(total)}`;
  }

  #show(entry, text, share, state = "") {
    entry.row.className = state;
    entry.row.querySelector("[data-state]").textContent = text;
    if (share !== undefined) entry.row.querySelector("progress").value = share;
  }

  #complain(text) {
    this.error.className = text ? "notice notice-fail" : "";
    this.error.textContent = text;
  }

  async call(address, body) {
    for (let attempt = 1; ; attempt++) {
      let answer = null;
      try {
        answer = await fetch(this.base + address, {
          method: "POST",
          headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": this.token },
          body: JSON.stringify(body),
        });
      } catch { /* no answer: the line broke */ }
      if (answer?.ok) return answer.status === 204 ? {} : answer.json();
      if (answer && answer.status < 500 && answer.status !== 429) {
        const said = await answer.json().catch(() => ({}));
        throw new Refused(said.error ?? said.detail ?? `The hub refused this (${answer.status}).`);
      }
      if (attempt === TRIES) throw new Error(answer ? `The hub answered ${answer.status} again and again; try later.` : "The hub cannot be reached; press the button again when the line is back.");
      await pause(500 * 2 ** attempt);
    }
  }

  async #send(entry) {
    if (entry.result) return;
    const { file, path } = entry;
    try {
      entry.sha256 ??= await sha256(file, (done) => this.#show(entry, "Hashing", done / file.size));
      const plan = await this.call("/uploads", { path, size: file.size, sha256: entry.sha256 });
      if (plan.present) entry.result = { path, sha256: entry.sha256 };
      else {
        await this.#parts(entry, plan);
        this.#show(entry, "The hub is checking it", 1);
        await this.call(`/uploads/${plan.upload}/finish`, { etags: plan.parts.map((part) => part.etag) });
        entry.result = { path, upload: plan.upload };
      }
      this.#show(entry, plan.present ? "Already on the hub" : "Uploaded", 1, "done");
    } catch (error) {
      this.#show(entry, error.message, undefined, "failed");
    }
  }

  async #parts(entry, plan) {
    const { file } = entry;
    let start = 0;
    for (const part of plan.parts) { part.start = start; part.sent = part.etag ? part.size : 0; start += part.size; }
    const report = () => {
      const sent = plan.parts.reduce((sum, part) => sum + part.sent, 0);
      this.#show(entry, `${size(sent)} of ${size(file.size)}`, file.size ? sent / file.size : 1);
    };
    report();
    await pool(plan.parts.filter((part) => !part.etag), PARTS_AT_ONCE, async (part) => {
      for (let attempt = 1; !part.etag; attempt++) {
        try {
          const etag = await put(part.url, file.slice(part.start, part.start + part.size), (sent) => { part.sent = sent; report(); });
          part.etag = etag || "unnamed";
          part.sent = part.size;
        } catch (error) {
          part.sent = 0;
          if (attempt === TRIES) throw new Error(`${error.message} Press the button again: what has arrived is kept.`);
          this.#show(entry, "The line broke; trying again");
          await pause(500 * 2 ** attempt);
          if (error.status === 403) { // the address has expired: ask for fresh ones of the same upload
            const fresh = await this.call("/uploads", { path: entry.path, size: file.size, sha256: entry.sha256 });
            part.url = fresh.parts?.find((other) => other.number === part.number)?.url ?? part.url;
          }
        }
      }
      report();
    });
  }

  async start() {
    if (this.running) return;
    this.#complain("");
    if (!this.entries.size) return this.#complain("Choose at least one file.");
    this.running = true;
    this.button.disabled = true;
    try {
      const entries = [...this.entries.values()];
      await pool(entries, FILES_AT_ONCE, (entry) => this.#send(entry));
      const failed = entries.filter((entry) => !entry.result).length;
      if (failed) throw new Error(`${failed} file${failed === 1 ? " has" : "s have"} not arrived, so nothing was committed. Remove or mend what is marked, then press the button again.`);
      const answer = await this.call("/commit", {
        message: this.form.elements.message.value,
        parent: this.form.dataset.parent || null,
        files: entries.map((entry) => entry.result),
      });
      this.running = false;
      location.assign(answer.url ?? this.form.dataset.done);
    } catch (error) {
      this.#complain(error.message);
    } finally {
      this.running = false;
      this.button.disabled = false;
    }
  }
}

for (const form of document.querySelectorAll("form[data-upload]")) new Upload(form);
