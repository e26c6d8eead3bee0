// Opens /docs as a visitor would: no error on the console, every operation listed, the demo key filled
// in, "Try it out" shows offerings, and an import is announced and its file uploaded.

import { chromium } from "playwright-core";

const [url, browserPath, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: browserPath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const fail = (message) => {
  throw new Error(message);
};
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const host = new URL(request.url()).host;
    // An upload goes to the bucket.
    const uploads = request.method() === "PUT" || request.method() === "OPTIONS";
    if (host && host !== new URL(url).host && !uploads) complaints.push(`asks ${host} for ${request.url()}`);
  });
  await page.goto(`${url}/docs`);
  await page.waitForSelector(".opblock");
  const operations = await page.$$eval(".opblock-summary-path", (paths) => paths.map((path) => path.dataset.path));
  const description = await (await fetch(`${url}/openapi.yaml`)).text();
  const described = description.match(/^    (get|post|put|patch|delete):$/gm).length;
  if (operations.length !== described) fail(`${described} operations expected: ${operations}`);
  await page.click("#operations-Offerings-listOfferings .opblock-summary");
  await page.click("#operations-Offerings-listOfferings .execute");
  const reply = page.locator("#operations-Offerings-listOfferings .live-responses-table");
  await reply.waitFor();
  const text = await reply.innerText();
  if (!text.includes("200") || !text.includes("productOfferingId")) fail(`no offerings:\n${text.slice(0, 2000)}`);
  await page.locator("#operations-Offerings-listOfferings").scrollIntoViewIfNeeded();
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: false });
  // With the other kind of key, too.
  await page.click("#operations-Networks-listCountries .opblock-summary");
  await page.click("#operations-Networks-listCountries .execute");
  const countries = page.locator("#operations-Networks-listCountries .live-responses-table");
  await countries.waitFor();
  if (!(await countries.innerText()).includes("network_count")) fail("no countries");
  // An upload: announced with its length, put to the bucket by the page, imported.
  const records = `${JSON.stringify({ kind: "product", sku: "FROM-DOCS", name: "Uploaded from /docs", price: 1 })}\n`;
  const submit = page.locator("#operations-Catalog-submitImport");
  await submit.locator(".opblock-summary").click();
  await submit.locator(".body-param__text").fill(JSON.stringify({ upload: { format: "ndjson", length: records.length } }));
  await submit.locator(".execute").click();
  const upload = page.locator("#upload");
  const put = async (text) => {
    await upload.locator("#file").setInputFiles({ name: "catalog.ndjson", mimeType: "application/x-ndjson", buffer: Buffer.from(text) });
    await upload.locator("button").click();
  };
  await upload.waitFor();
  await put(`${records}\n`);
  await upload.getByText("announce an upload of that length").waitFor();
  await put(records);
  await upload.getByText("shows its progress").waitFor();
  const id = await upload.locator("#import").innerText();
  const headers = { Authorization: "Bearer cat_live_DemoKeyOfAcmeForLocalUseOnly0001" };
  let state;
  for (let tries = 0; tries < 100 && state?.status !== "done"; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    state = await (await fetch(`${url}/catalog/v1/imports/${id}`, { headers })).json();
  }
  if (state.counts?.created !== 1) fail(`the upload was not imported: ${JSON.stringify(state)}`);
  // A second PUT finds the object there.
  await put(records);
  await upload.getByText("412").waitFor();
  if (screenshot) await page.screenshot({ path: screenshot.replace(/(\.\w+)?$/, "-upload$1"), fullPage: false });
  const second = complaints.findIndex((text) => text.includes("412"));
  if (second >= 0) complaints.splice(second, 1);
  if (complaints.length) fail(`the page complains:\n${complaints.join("\n")}`);
  console.log(`${described} operations listed, "Try it out" shows offerings and countries, an upload is imported, nothing on the console.`);
} finally {
  await browser.close();
}
