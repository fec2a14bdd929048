// Package controllers stands in for a module that not every module proxy has. Cilium takes one name of it.
package controllers

// DerivedServiceAnnotation is where Cilium's documentation of the MCS API says that a ServiceImport names its Service.
const DerivedServiceAnnotation = "multicluster.kubernetes.io/derived-service"
