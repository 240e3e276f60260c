"""Front ends: files of KServe, Seldon, BentoML and Tiffin itself become spec.Deployment. Pure: text in, specs out."""
