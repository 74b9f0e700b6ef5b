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
