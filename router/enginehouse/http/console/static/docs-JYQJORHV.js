SwaggerUIBundle({url:"/openapi.json",dom_id:"#reference",deepLinking:!0,defaultModelsExpandDepth:0,docExpansion:"list",persistAuthorization:!1,tryItOutEnabled:!1,validatorUrl:null});
