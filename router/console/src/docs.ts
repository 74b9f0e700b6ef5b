// The reference of the API at /docs: Swagger UI over this server's own document.

interface SwaggerUI {
  (options: Record<string, unknown>): unknown;
}

declare const SwaggerUIBundle: SwaggerUI;

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  persistAuthorization: false, // a key is forgotten with the page
  tryItOutEnabled: false,
  validatorUrl: null, // nothing is sent to anybody else
});

// What it leaves without a name, out of place, or out of the keyboard's reach, as it comes.
function mend(): void {
  isDue = false;
  for (const one of document.querySelectorAll("select.examples-select-element:not([aria-label])"))
    one.setAttribute("aria-label", "Example");
  for (const one of document.querySelectorAll("pre.microlight:not([tabindex])")) one.setAttribute("tabindex", "0");
  for (const one of document.querySelectorAll(".information-container:not([role])")) {
    one.setAttribute("role", "region");
    one.setAttribute("aria-label", "About this API");
  }
}

let isDue = false;
new MutationObserver(() => {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(mend);
}).observe(document.body, { childList: true, subtree: true });
