"""Front ends: files of KServe, Seldon, BentoML and Tiffin become spec.Deployment. Pure: text in, specs out."""
