"""What authors write: services, endpoints, plain classes; and how a module becomes one."""
